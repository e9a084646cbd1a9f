// memjs: binary protocol, SASL. The common list is in ../checks.md.
'use strict';

const crypto = require('crypto');
const readline = require('readline');
const memjs = require('memjs');

const MIB = 1024 * 1024;
const BINARY = Buffer.concat([
  Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)),
  Buffer.from('\r\nEND\r\n\0VALUE x 0 1\r\n'),
]);
const TEXT = 'Grüße, 缓存, κρυφή μνήμη, 🧺';

class Cannot extends Error {}

const input = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const quiet = { log: (...words) => console.error(...words) };

function connect(credential, password) {
  const name = { full: 'MEMCACHIER', 'read-only': 'READONLY', 'no-flush': 'NOFLUSH', promoted: 'PROMOTED' }[credential];
  return memjs.Client.create(process.env.MEMCACHIER_SERVERS, {
    username: process.env[`${name}_USERNAME`],
    password: password || process.env[`${name}_PASSWORD`],
    timeout: 10,
    logger: quiet,
  });
}

async function get(client, key) {
  return (await client.get(key)).value;
}

async function text(client, key) {
  const value = await get(client, key);
  return value === null ? null : value.toString();
}

function same(seen, wanted) {
  const short = (value) => String(JSON.stringify(value)).slice(0, 80);
  if (seen !== wanted) {
    throw new Error(`expected ${short(wanted)}, got ${short(seen)}`);
  }
}

function sameBytes(seen, wanted) {
  if (seen === null || !wanted.equals(seen)) {
    throw new Error(`${wanted.length} bytes did not come back the same`);
  }
}

async function untilGone(client, key) {
  const deadline = Date.now() + 15000;
  while ((await get(client, key)) !== null) {
    if (Date.now() > deadline) {
      throw new Error(`${key} did not expire`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

// A round trip through the same client, so that what went before has not broken it or put it out of step.
async function usable(client) {
  same(await client.set('usable', 'yes', {}), true);
  same(await text(client, 'usable'), 'yes');
}

// The library rejects with the status text of a refusal. Anything else is another fault.
async function refused(call) {
  try {
    return !(await call());
  } catch (fault) {
    if (/Item not stored|Value too large|Key not found/i.test(fault.message)) {
      return true;
    }
    throw fault;
  }
}

async function waitForTheTest(what) {
  console.log(`waiting ${what}`);
  if ((await input.next()).done) {
    throw new Error('the test went away');
  }
}

const writes = {
  set: (client) => client.set('ro', '9', {}),
  add: (client) => client.add('ro-new', '9', {}),
  replace: (client) => client.replace('ro', '9', {}),
  append: (client) => client.append('ro', '9'),
  incr: async (client) => (await client.increment('ro', 1, {})).success,
  decr: async (client) => (await client.decrement('ro', 1, {})).success,
  delete: (client) => client.delete('ro'),
};

const checks = {
  'set-get': async (main) => {
    same(await text(main, 'set-get'), null);
    same(await main.set('set-get', 'first', {}), true);
    same(await text(main, 'set-get'), 'first');
    same(await main.set('set-get', '', {}), true);
    same(await text(main, 'set-get'), '');
  },
  'multi-set-get': async (main) => {
    const keys = Array.from({ length: 100 }, (_, number) => `multi-${number}`);
    await Promise.all(keys.map((key) => main.set(key, `value of ${key}`, {})));
    const values = await Promise.all([...keys, 'multi-none'].map((key) => text(main, key)));
    same(values.join(), [...keys.map((key) => `value of ${key}`), null].join());
  },
  add: async (main) => {
    same(await main.add('add', 'first', {}), true);
    same(await main.add('add', 'second', {}), false);
    same(await text(main, 'add'), 'first');
  },
  replace: async (main) => {
    same(await main.replace('replace', 'none', {}), false);
    await main.set('replace', 'old', {});
    same(await main.replace('replace', 'new', {}), true);
    same(await text(main, 'replace'), 'new');
  },
  append: async (main) => {
    same(await refused(() => main.append('append-none', 'x')), true);
    await main.set('append', 'head', {});
    same(await main.append('append', '-tail'), true);
    same(await text(main, 'append'), 'head-tail');
  },
  prepend: async () => {
    throw new Cannot('version 1.3.2 sends the opcode of append');
  },
  incr: async (main) => {
    await main.set('incr', '10', {});
    same((await main.increment('incr', 5, {})).value, 15);
    same(await text(main, 'incr'), '15');
  },
  decr: async (main) => {
    await main.set('decr', '15', {});
    same((await main.decrement('decr', 6, {})).value, 9);
    same((await main.decrement('decr', 100, {})).value, 0);
    same((await text(main, 'decr')).trim(), '0');
  },
  cas: async () => {
    throw new Cannot('no cas');
  },
  touch: async (main) => {
    await main.set('touch', 'kept', { expires: 1 });
    await main.set('touch-control', 'goes', { expires: 1 });
    same(await main.touch('touch', 100), true);
    await untilGone(main, 'touch-control');
    same(await text(main, 'touch'), 'kept');
    same(await main.touch('touch-none', 100), false);
  },
  delete: async (main) => {
    await main.set('delete', 'x', {});
    same(await main.delete('delete'), true);
    same(await text(main, 'delete'), null);
  },
  expiry: async (main) => {
    await main.set('expiry-long', 'stays', { expires: 100 });
    await main.set('expiry', 'goes', { expires: 1 });
    await untilGone(main, 'expiry');
    same(await text(main, 'expiry-long'), 'stays');
  },
  'large-value': async (main) => {
    const value = crypto.randomBytes(MIB - 1024);
    same(await main.set('large', value, {}), true);
    sameBytes(await get(main, 'large'), value);
  },
  'too-large': async (main) => {
    await main.set('too-large', 'old', {});
    same(await refused(() => main.set('too-large', crypto.randomBytes(MIB + 1), {})), true);
    await usable(main);
    same(await text(main, 'too-large'), null);
  },
  'binary-values': async (main) => {
    same(await main.set('binary', BINARY, {}), true);
    sameBytes(await get(main, 'binary'), BINARY);
  },
  'unicode-values': async (main) => {
    same(await main.set('unicode', TEXT, {}), true);
    same(await text(main, 'unicode'), TEXT);
  },
  'read-only': async (main) => {
    await main.set('ro', '7', {});
    await main.set('ro-life', 'kept', {});
    const reader = connect('read-only');
    same(await text(reader, 'ro'), '7');
    for (const [name, write] of Object.entries(writes)) {
      same(`${name} ${await refused(() => write(reader))}`, `${name} true`);
      same(`${name} ${await text(reader, 'ro')}`, `${name} 7`);
    }
    same(await text(main, 'ro'), '7');
    same(await text(main, 'ro-new'), null);
    same(await refused(() => reader.touch('ro-life', 1)), true);
    await main.set('ro-control', 'goes', { expires: 1 });
    await untilGone(main, 'ro-control');
    same(await text(reader, 'ro-life'), 'kept');
    reader.close();
  },
  'no-flush': async (main) => {
    await main.set('no-flush', 'stays', {});
    const writer = connect('no-flush');
    same(await text(writer, 'no-flush'), 'stays');
    // The library reports success whatever the answer; what counts is that nothing was flushed.
    await writer.flush();
    await usable(writer);
    same(await text(writer, 'no-flush'), 'stays');
    same(await text(main, 'no-flush'), 'stays');
    writer.close();
  },
  promotion: async (main) => {
    await main.set('promotion', 'before', {});
    same(await text(main, 'promotion'), 'before');
    await waitForTheTest('promotion');
    same(await text(main, 'promotion'), 'before');
    await usable(main);
  },
  'promoted-login': async (main) => {
    await waitForTheTest('promoted-login');
    const fresh = connect('promoted');
    same(await text(fresh, 'promotion'), 'before');
    same(await fresh.set('promotion', 'after', {}), true);
    same(await text(main, 'promotion'), 'after');
    fresh.close();
  },
  flush: async (main) => {
    await main.set('flush', 'x', {});
    await main.flush();
    same(await text(main, 'flush'), null);
    await usable(main);
  },
  'wrong-password': async () => {
    const anonymous = connect('full', 'not-the-password');
    const fault = await anonymous.get('set-get').then(
      () => new Error('no error'),
      (error) => error,
    );
    anonymous.close();
    // The library rejects with this text itself, not with an error object.
    same(String(fault), 'Memcached server authentication failed!');
  },
};

async function run() {
  const main = connect('full');
  for (const [name, check] of Object.entries(checks)) {
    try {
      await check(main);
      console.log(`ok ${name}`);
    } catch (fault) {
      if (fault instanceof Cannot) {
        console.log(`skip ${name} - ${fault.message}`);
      } else {
        console.error(fault);
        console.log(`not ok ${name} - ${String(fault.message || fault).replace(/\n/g, ' ')}`);
      }
    }
  }
  main.close();
  process.exit(0);
}

run();
