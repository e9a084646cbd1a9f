<?php
// php-memcached (libmemcached): binary protocol, SASL. The common list is in ../checks.md.

declare(strict_types=1);

const MIB = 1024 * 1024;
const TEXT = 'Grüße, 缓存, κρυφή μνήμη, 🧺';

function connect(string $credential, ?string $password = null): Memcached
{
    $prefix = ['full' => 'MEMCACHIER', 'read-only' => 'READONLY', 'no-flush' => 'NOFLUSH', 'promoted' => 'PROMOTED'][$credential];
    $client = new Memcached();
    $client->setOptions([
        Memcached::OPT_BINARY_PROTOCOL => true,
        Memcached::OPT_COMPRESSION => false,
        Memcached::OPT_TCP_NODELAY => true,
        Memcached::OPT_CONNECT_TIMEOUT => 5000,
        // Microseconds.
        Memcached::OPT_SEND_TIMEOUT => 10000000,
        Memcached::OPT_RECV_TIMEOUT => 10000000,
    ]);
    $client->setSaslAuthData(getenv("{$prefix}_USERNAME"), $password ?? getenv("{$prefix}_PASSWORD"));
    [$host, $port] = explode(':', explode(',', getenv('MEMCACHIER_SERVERS'))[0]);
    $client->addServer($host, (int) $port);
    return $client;
}

function same(mixed $seen, mixed $wanted): void
{
    if ($seen !== $wanted) {
        throw new Exception('expected ' . short($wanted) . ', got ' . short($seen));
    }
}

function short(mixed $value): string
{
    return substr(var_export($value, true), 0, 80);
}

/** What get answers, with a miss as null; any other result than a hit or a miss is a fault. */
function get(Memcached $client, string $key): mixed
{
    $value = $client->get($key);
    return match ($client->getResultCode()) {
        Memcached::RES_SUCCESS => $value,
        Memcached::RES_NOTFOUND => null,
        default => throw new Exception("get {$key}: {$client->getResultMessage()}"),
    };
}

/** Whether a call was refused, and not failed in another way. */
function refused(Memcached $client, mixed $answer): bool
{
    $refusals = [Memcached::RES_NOTSTORED, Memcached::RES_DATA_EXISTS, Memcached::RES_NOTFOUND, Memcached::RES_E2BIG];
    if ($answer !== false) {
        return false;
    }
    if (!in_array($client->getResultCode(), $refusals, true)) {
        throw new Exception("neither done nor refused: {$client->getResultCode()} {$client->getResultMessage()}");
    }
    return true;
}

function untilGone(Memcached $client, string $key): void
{
    $deadline = hrtime(true) + 15_000_000_000;
    while (get($client, $key) !== null) {
        if (hrtime(true) > $deadline) {
            throw new Exception("{$key} did not expire");
        }
        usleep(50_000);
    }
}

/** A round trip through the same client, so that what went before has not broken it or put it out of step. */
function usable(Memcached $client): void
{
    same($client->set('usable', 'yes'), true);
    same(get($client, 'usable'), 'yes');
}

function waitForTheTest(string $what): void
{
    say("waiting {$what}");
    if (fgets(STDIN) === false) {
        throw new Exception('the test went away');
    }
}

function say(string $line): void
{
    fwrite(STDOUT, $line . "\n");
    fflush(STDOUT);
}

$writes = [
    'set' => fn ($reader) => $reader->set('ro', '9'),
    'set many' => fn ($reader) => $reader->setMulti(['ro' => '9', 'ro-new' => '9']),
    'add' => fn ($reader) => $reader->add('ro-new', '9'),
    'replace' => fn ($reader) => $reader->replace('ro', '9'),
    'append' => fn ($reader) => $reader->append('ro', '9'),
    'prepend' => fn ($reader) => $reader->prepend('ro', '9'),
    'incr' => fn ($reader) => $reader->increment('ro', 1),
    'decr' => fn ($reader) => $reader->decrement('ro', 1),
    'cas' => function ($reader) {
        $item = $reader->get('ro', null, Memcached::GET_EXTENDED);
        return $reader->cas($item['cas'], 'ro', '9');
    },
    'touch' => fn ($reader) => $reader->touch('ro-life', 1),
    'delete' => fn ($reader) => $reader->delete('ro'),
];

$checks = [
    'set-get' => function ($main) {
        same(get($main, 'set-get'), null);
        same($main->set('set-get', 'first'), true);
        same(get($main, 'set-get'), 'first');
        same($main->set('set-get', ''), true);
        same(get($main, 'set-get'), '');
    },
    'multi-set-get' => function ($main) {
        $items = [];
        for ($number = 0; $number < 100; $number++) {
            $items["multi-{$number}"] = "value {$number}";
        }
        same($main->setMulti($items), true);
        $got = $main->getMulti([...array_keys($items), 'multi-none']);
        ksort($items);
        ksort($got);
        same($got, $items);
    },
    'add' => function ($main) {
        same($main->add('add', 'first'), true);
        same(refused($main, $main->add('add', 'second')), true);
        same(get($main, 'add'), 'first');
    },
    'replace' => function ($main) {
        same(refused($main, $main->replace('replace', 'none')), true);
        $main->set('replace', 'old');
        same($main->replace('replace', 'new'), true);
        same(get($main, 'replace'), 'new');
    },
    'append' => function ($main) {
        same(refused($main, $main->append('append-none', 'x')), true);
        $main->set('append', 'head');
        same($main->append('append', '-tail'), true);
        same(get($main, 'append'), 'head-tail');
    },
    'prepend' => function ($main) {
        same(refused($main, $main->prepend('prepend-none', 'x')), true);
        $main->set('prepend', 'tail');
        same($main->prepend('prepend', 'head-'), true);
        same(get($main, 'prepend'), 'head-tail');
    },
    'incr' => function ($main) {
        $main->set('incr', '10');
        same($main->increment('incr', 5), 15);
        same(get($main, 'incr'), '15');
        same($main->increment('incr-new', 5, 7, 100), 7);
    },
    'decr' => function ($main) {
        $main->set('decr', '15');
        same($main->decrement('decr', 6), 9);
        same($main->decrement('decr', 100), 0);
        same(trim(get($main, 'decr')), '0');
    },
    'cas' => function ($main) {
        $main->set('cas', 'old');
        $item = $main->get('cas', null, Memcached::GET_EXTENDED);
        same($item['value'], 'old');
        same($main->cas($item['cas'], 'cas', 'new'), true);
        same(refused($main, $main->cas($item['cas'], 'cas', 'late')), true);
        same(get($main, 'cas'), 'new');
    },
    'touch' => function ($main) {
        $main->set('touch', 'kept', 1);
        $main->set('touch-control', 'goes', 1);
        same($main->touch('touch', 100), true);
        untilGone($main, 'touch-control');
        same(get($main, 'touch'), 'kept');
        same(refused($main, $main->touch('touch-none', 100)), true);
    },
    'delete' => function ($main) {
        $main->set('delete', 'x');
        same($main->delete('delete'), true);
        same(get($main, 'delete'), null);
    },
    'expiry' => function ($main) {
        $main->set('expiry-long', 'stays', 100);
        $main->set('expiry', 'goes', 1);
        untilGone($main, 'expiry');
        same(get($main, 'expiry-long'), 'stays');
    },
    'large-value' => function ($main) {
        $value = random_bytes(MIB - 1024);
        same($main->set('large', $value), true);
        same(get($main, 'large') === $value, true);
    },
    'too-large' => function ($main) {
        $main->set('too-large', 'old');
        same(refused($main, $main->set('too-large', random_bytes(MIB + 1))), true);
        usable($main);
        same(get($main, 'too-large'), null);
    },
    'binary-values' => function ($main) {
        $value = implode('', array_map('chr', range(0, 255))) . "\r\nEND\r\n\0VALUE x 0 1\r\n";
        same($main->set('binary', $value), true);
        same(get($main, 'binary'), $value);
    },
    'unicode-values' => function ($main) {
        same($main->set('unicode', TEXT), true);
        same(get($main, 'unicode'), TEXT);
    },
    'read-only' => function ($main) use ($writes) {
        $main->set('ro', '7');
        $main->set('ro-life', 'kept');
        $reader = connect('read-only');
        same(get($reader, 'ro'), '7');
        foreach ($writes as $name => $write) {
            same([$name, refused($reader, $write($reader))], [$name, true]);
            same([$name, get($reader, 'ro')], [$name, '7']);
        }
        same(get($main, 'ro'), '7');
        same(get($main, 'ro-new'), null);
        $main->set('ro-control', 'goes', 1);
        untilGone($main, 'ro-control');
        same(get($reader, 'ro-life'), 'kept');
    },
    'no-flush' => function ($main) {
        $main->set('no-flush', 'stays');
        $writer = connect('no-flush');
        same(get($writer, 'no-flush'), 'stays');
        // The library reports success whatever the answer; what counts is that nothing was flushed.
        $writer->flush();
        usable($writer);
        same(get($writer, 'no-flush'), 'stays');
        same(get($main, 'no-flush'), 'stays');
    },
    'promotion' => function ($main) {
        $main->set('promotion', 'before');
        same(get($main, 'promotion'), 'before');
        waitForTheTest('promotion');
        same(get($main, 'promotion'), 'before');
        usable($main);
    },
    'promoted-login' => function ($main) {
        waitForTheTest('promoted-login');
        $fresh = connect('promoted');
        same(get($fresh, 'promotion'), 'before');
        same($fresh->set('promotion', 'after'), true);
        same(get($main, 'promotion'), 'after');
    },
    'flush' => function ($main) {
        $main->set('flush', 'x');
        same($main->flush(), true);
        same(get($main, 'flush'), null);
        usable($main);
    },
    'wrong-password' => function () {
        $anonymous = connect('full', 'not-the-password');
        same($anonymous->get('set-get'), false);
        same([$anonymous->getResultCode(), $anonymous->getResultMessage()], [Memcached::RES_AUTH_FAILURE, 'AUTHENTICATION FAILURE']);
    },
];

$main = connect('full');
foreach ($checks as $name => $check) {
    try {
        $check($main);
        say("ok {$name}");
    } catch (Throwable $fault) {
        fwrite(STDERR, $fault . "\n");
        say("not ok {$name} - " . strtr($fault->getMessage(), "\n", ' '));
    }
}
