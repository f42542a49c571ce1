// Uppy with its tus plugin: uploads the file that argv's JSON tells; what it needs to resume is in the file `urls`.
// {"path": ..., "name": ..., "urls": ..., "options": {endpoint, ...}}
import fs from 'node:fs'
import Uppy from '@uppy/core'
import Tus from '@uppy/tus'
import tus from 'tus4'

const { path, name, urls, options } = JSON.parse(process.argv[2])
const data = fs.createReadStream(path)
data.size = fs.statSync(path).size

const uppy = new Uppy().use(Tus, {
  retryDelays: Array(100).fill(50),
  urlStorage: new tus.FileUrlStorage(urls),
  storeFingerprintForResuming: true,
  ...options,
})
uppy.addFile({ name, type: 'application/octet-stream', data, size: data.size })
const { failed } = await uppy.upload()
for (const file of failed) console.error(String(file.error))
process.exit(failed.length)
