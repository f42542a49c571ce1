// formidable as its README shows it: it writes the files itself. formidable.mjs ROOT PORT
import formidable from 'formidable'
import { createServer } from 'node:http'

const [root, port] = process.argv.slice(2)

createServer(async (request, response) => {
  const form = formidable({ uploadDir: root, filename: (name, ext, part) => part.originalFilename, maxFileSize: 2 ** 40 })
  await form.parse(request)
  response.writeHead(201, { 'Content-Length': 0 }).end()
}).listen(Number(port), '127.0.0.1')
