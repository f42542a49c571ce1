// busboy as its README shows it: each file piped into a write stream. busboy.mjs ROOT PORT
import busboy from 'busboy'
import { createWriteStream } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'

const [root, port] = process.argv.slice(2)

createServer((request, response) => {
  const form = busboy({ headers: request.headers })
  let open = 1
  const closed = () => {
    if (--open === 0) response.writeHead(201, { 'Content-Length': 0 }).end()
  }
  form.on('file', (field, file, { filename }) => {
    open++
    file.pipe(createWriteStream(join(root, filename))).on('close', closed)
  })
  form.on('close', closed)
  request.pipe(form)
}).listen(Number(port), '127.0.0.1')
