// npm's CoAP server as a peer: `server.js PORT BODY` serves a file at any path; the package slices it. Prints `ready`.
const fs = require('fs')
const crypto = require('crypto')
const coap = require('coap')

const [port, file] = process.argv.slice(2)
const body = fs.readFileSync(file)
const tag = crypto.createHash('sha256').update(body).digest().subarray(0, 8)

coap.createServer((request, response) => {
  response.setOption('ETag', tag)
  response.setOption('Content-Format', 'application/octet-stream')
  response.end(body)
}).listen(Number(port), '127.0.0.1', () => console.log('ready'))
