// One request by the npm package coap, the body of the answer into a file. Nothing of Updraft is in it.
//
//   node fetch.js FILE METHOD URI [PROXY_URI]
//
// With PROXY_URI the request goes to URI, and names what it wants in option 35. A body comes on standard input.
// Writes the response code to standard output, and the diagnostic payload of a refusal behind it.

'use strict';

const fs = require('node:fs');
const coap = require('coap');

const BLOCK_SZX = 5; // 512 bytes
const TIMEOUT_MILLISECONDS = 25000;
const [file, method, uri, proxyUri] = process.argv.slice(2);
const target = new URL(uri);
const request = coap.request({
  hostname: target.hostname,
  port: Number(target.port),
  pathname: target.pathname,
  method,
  proxyUri,
});
const silence = setTimeout(() => {
  console.log('no answer');
  process.exit(1);
}, TIMEOUT_MILLISECONDS);

request.on('response', (response) => {
  const pieces = [];
  response.on('data', (piece) => pieces.push(piece));
  response.on('end', () => {
    clearTimeout(silence);
    const body = Buffer.concat(pieces);
    const good = response.code.startsWith('2.');
    console.log(`${response.code} ${good ? '' : body}`);
    if (good) fs.writeFileSync(file, body);
    process.exit(0);
  });
});
request.on('error', (error) => {
  console.log(String(error));
  process.exit(1);
});

if (method === 'get') {
  request.setOption('Block2', Buffer.from([BLOCK_SZX]));
} else {
  request.setOption('Block1', Buffer.from([BLOCK_SZX]));
  request.setOption('Content-Format', 'application/octet-stream');
  request.write(fs.readFileSync(0));
}
request.end();
