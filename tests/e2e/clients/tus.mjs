// tus-js-client, in either version: uploads the file that argv's JSON tells.
// {"package": "tus4" | "tus5", "path": ..., "kind": "stream" | "buffer", "options": {endpoint, ...}}
import fs from 'node:fs'

const { package: name, path, kind, options } = JSON.parse(process.argv[2])
const tus = await import(name)
const Upload = tus.Upload ?? tus.default.Upload

const source = kind === 'buffer' ? fs.readFileSync(path) : fs.createReadStream(path)
const upload = new Upload(source, {
  retryDelays: Array(100).fill(50),
  ...options,
  onError: (error) => {
    console.error(String(error))
    process.exit(1)
  },
  onSuccess: () => process.exit(0),
})
upload.start()
