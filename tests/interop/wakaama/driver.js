// A device whose LwM2M is Wakaama's (npm: node-red-contrib-lwm2m) and whose firmware download is the npm package coap.
// Nothing of Updraft is in it: it proves that the gateway and the proxy speak to a stranger.
//
//   node driver.js SERVER_HOST SERVER_PORT ENDPOINT CLIENT_PORT FIRMWARE_VERSION
//
// Tells its story as JSON lines on standard output, and takes orders as JSON lines on standard input:
//   {"set": "/3/0/9", "value": 42}   change a resource; observers are notified
//   {"goodbye": true}                de-register and end
// Object 5 is played by the book (OMA LwM2M 1.0, appendix E.6): a Package URI makes it download, Execute of Update
// makes it "boot" what it downloaded: the client process dies without a word and comes back with the new version.

'use strict';

const crypto = require('node:crypto');
const readline = require('node:readline');
const { EventEmitter } = require('node:events');
const coap = require('coap');
const {
  LwM2MClientProxy,
  LwM2MObjectStore,
  ResourceRepositoryBuilder,
} = require('node-red-contrib-lwm2m/dist/lwm2m-common');

const STATE = { idle: 0, downloading: 1, downloaded: 2, updating: 3 };
const RESULT = { initial: 0, success: 1, connectionLost: 4, integrityCheckFailed: 5, invalidUri: 7 };
const MCUBOOT_MAGIC = 0x96f3b83d;
const DOWNLOAD_SECONDS = 10;

const [serverHost, serverPort, clientName, clientPort, firmwareVersion] = process.argv.slice(2);

function tell(event, more = {}) {
  process.stdout.write(`${JSON.stringify({ event, ...more })}\n`);
}

function objects(version, result) {
  const text = (value) => ({ type: 'STRING', acl: 'R', value });
  const number = (value) => ({ type: 'INTEGER', acl: 'R', value });
  return {
    3: {
      0: {
        0: text('Eclipse Wakaama'),
        1: text('wakatiwai'),
        2: text('WK-0001'),
        3: text(version),
        9: number(97),
        17: text('interop bench'),
        18: text('rev C'),
        19: text('2.12.3'),
      },
    },
    5: {
      0: {
        0: { type: 'OPAQUE', acl: 'W', value: Buffer.alloc(0) },
        1: { type: 'STRING', acl: 'RW', value: '' },
        2: { type: 'FUNCTION', acl: 'E' },
        3: number(STATE.idle),
        5: number(result),
      },
    },
  };
}

class Device {
  constructor() {
    this.version = firmwareVersion;
    this.image = null;
  }

  // Everything the library wants of its "node": options, a logger, and somewhere to send events.
  async boot(result = RESULT.initial) {
    const node = Object.assign(new EventEmitter(), {
      clientName,
      clientPort: Number(clientPort),
      serverHost,
      serverPort: Number(serverPort),
      serverId: 99,
      lifetimeSec: 60,
      useIPv4: true,
      reconnectSec: -1, // never by itself; 0 would mean the library's default of a minute
      redirectLwm2mClientLog: false,
      log: () => {},
      trace: () => {},
      debug: () => {},
      error: (text, more) => tell('trouble', { text: String(text), more }),
    });
    node.objectStore = new LwM2MObjectStore(node);
    this.store = node.objectStore;
    this.client = new LwM2MClientProxy(node);
    node.on('object-event', (event) => this.happened(event));
    this.client.on('connected', () => tell('registered', { version: this.version }));
    this.store.repo = await new ResourceRepositoryBuilder([objects(this.version, result)]).build(node);
    this.client.start();
  }

  happened({ uri, value, eventType, remote }) {
    if (!remote) return;
    if (eventType === 'executed') {
      tell('executed', { path: uri });
      if (uri === '/5/0/2') this.update().catch((error) => tell('trouble', { text: String(error) }));
    } else if (eventType === 'updated') {
      const written = value.toValue(true);
      tell('written', { path: uri, value: written });
      if (uri === '/5/0/1') this.offered(written).catch((error) => tell('trouble', { text: String(error) }));
    }
  }

  set(path, value) {
    return this.store.write(path, value, false);
  }

  async offered(uri) {
    if (!uri) {
      this.image = null;
      await this.set('/5/0/3', STATE.idle);
      await this.set('/5/0/5', RESULT.initial);
      return;
    }
    await this.set('/5/0/5', RESULT.initial);
    await this.set('/5/0/3', STATE.downloading);
    let image;
    try {
      image = await fetch(uri);
    } catch (error) {
      const result = error.refused ? RESULT.invalidUri : RESULT.connectionLost;
      tell('download failed', { text: String(error), result });
      await this.set('/5/0/3', STATE.idle);
      await this.set('/5/0/5', result);
      return;
    }
    const version = image.length > 28 && image.readUInt32LE(0) === MCUBOOT_MAGIC ? mcubootVersion(image) : null;
    tell('downloaded', {
      bytes: image.length,
      sha256: crypto.createHash('sha256').update(image).digest('hex'),
      version,
    });
    if (version === null) {
      await this.set('/5/0/3', STATE.idle);
      await this.set('/5/0/5', RESULT.integrityCheckFailed);
      return;
    }
    this.image = { version };
    await this.set('/5/0/3', STATE.downloaded);
  }

  async update() {
    if (this.image === null) return;
    await this.set('/5/0/3', STATE.updating);
    await new Promise((resolve) => setTimeout(resolve, 1500)); // let the answer and the notification out
    this.version = this.image.version;
    this.image = null;
    await this.client.shutdown({ deregister: false });
    await this.boot(RESULT.success);
  }

  async leave() {
    await this.client.shutdown({ deregister: true });
    tell('gone');
    process.exit(0);
  }
}

function mcubootVersion(image) {
  return `${image.readUInt8(20)}.${image.readUInt8(21)}.${image.readUInt16LE(22)}`;
}

function fetch(uri) {
  return new Promise((resolve, reject) => {
    const giveUp = setTimeout(() => reject(new Error('the download took too long')), DOWNLOAD_SECONDS * 1000);
    const request = coap.request(uri);
    request.on('error', reject);
    request.on('response', (response) => {
      clearTimeout(giveUp);
      if (response.code !== '2.05') {
        reject(Object.assign(new Error(`answered ${response.code} ${response.payload}`), { refused: true }));
        return;
      }
      resolve(response.payload); // the library has put the blocks together
    });
    request.end();
  });
}

const device = new Device();
readline.createInterface({ input: process.stdin }).on('line', (line) => {
  const order = JSON.parse(line);
  if (order.goodbye) device.leave();
  else device.set(order.set, order.value).catch((error) => tell('trouble', { text: String(error) }));
});
process.on('SIGTERM', () => device.client.shutdown({ deregister: false }).then(() => process.exit(0)));
device.boot().catch((error) => {
  tell('trouble', { text: String(error) });
  process.exit(1);
});
