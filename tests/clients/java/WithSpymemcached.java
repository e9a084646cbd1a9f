// spymemcached: binary protocol, SASL. The common list is in ../checks.md. Run as a single source file.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Random;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;

import net.spy.memcached.AddrUtil;
import net.spy.memcached.CASResponse;
import net.spy.memcached.CASValue;
import net.spy.memcached.ConnectionFactoryBuilder;
import net.spy.memcached.MemcachedClient;
import net.spy.memcached.OperationTimeoutException;
import net.spy.memcached.auth.AuthDescriptor;
import net.spy.memcached.auth.PlainCallbackHandler;
import net.spy.memcached.ops.OperationException;

public class WithSpymemcached {
    static final int MIB = 1024 * 1024;
    static final String TEXT = "Grüße, 缓存, κρυφή μνήμη, 🧺";
    static final BufferedReader INPUT = new BufferedReader(new InputStreamReader(System.in));

    interface Check {
        void run(MemcachedClient main) throws Exception;
    }

    /** Whether the write happened. */
    interface Write {
        boolean run(MemcachedClient reader) throws Exception;
    }

    static final Map<String, Check> CHECKS = new LinkedHashMap<>();
    static final Map<String, Write> WRITES = new LinkedHashMap<>();

    static MemcachedClient connect(String prefix, String password, long milliseconds) throws Exception {
        String real = password == null ? System.getenv(prefix + "_PASSWORD") : password;
        PlainCallbackHandler login = new PlainCallbackHandler(System.getenv(prefix + "_USERNAME"), real);
        ConnectionFactoryBuilder factory = new ConnectionFactoryBuilder()
            .setProtocol(ConnectionFactoryBuilder.Protocol.BINARY)
            .setAuthDescriptor(new AuthDescriptor(new String[] {"PLAIN"}, login))
            .setDaemon(true)
            .setOpTimeout(milliseconds);
        return new MemcachedClient(factory.build(), AddrUtil.getAddresses(System.getenv("MEMCACHIER_SERVERS")));
    }

    static MemcachedClient connect(String prefix) throws Exception {
        return connect(prefix, null, 10_000);
    }

    static boolean done(Future<Boolean> call) throws Exception {
        return call.get(10, TimeUnit.SECONDS);
    }

    static boolean set(MemcachedClient client, String key, Object value) throws Exception {
        return done(client.set(key, 0, value));
    }

    static void same(Object seen, Object wanted) {
        if (!Objects.deepEquals(seen, wanted)) {
            throw new AssertionError("expected " + brief(wanted) + ", got " + brief(seen));
        }
    }

    static String brief(Object value) {
        String text = value instanceof byte[] ? ((byte[]) value).length + " bytes" : String.valueOf(value);
        return text.substring(0, Math.min(80, text.length()));
    }

    static byte[] noise(int length) {
        byte[] value = new byte[length];
        new Random().nextBytes(value);
        return value;
    }

    static void untilGone(MemcachedClient client, String key) throws Exception {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(15);
        while (client.get(key) != null) {
            if (System.nanoTime() > deadline) {
                throw new AssertionError(key + " did not expire");
            }
            Thread.sleep(50);
        }
    }

    /** A round trip through the same client, so that what went before has not broken it or put it out of step. */
    static void usable(MemcachedClient client) throws Exception {
        same(set(client, "usable", "yes"), true);
        same(client.get("usable"), "yes");
    }

    static void waitForTheTest(String what) throws Exception {
        System.out.println("waiting " + what);
        if (INPUT.readLine() == null) {
            throw new IllegalStateException("the test went away");
        }
    }

    static {
        CHECKS.put("set-get", main -> {
            same(main.get("set-get"), null);
            same(set(main, "set-get", "first"), true);
            same(main.get("set-get"), "first");
            same(set(main, "set-get", ""), true);
            same(main.get("set-get"), "");
        });
        CHECKS.put("multi-set-get", main -> {
            Map<String, Object> items = new LinkedHashMap<>();
            List<Future<Boolean>> calls = new ArrayList<>();
            for (int number = 0; number < 100; number++) {
                items.put("multi-" + number, "value " + number);
                calls.add(main.set("multi-" + number, 0, "value " + number));
            }
            for (Future<Boolean> call : calls) {
                same(done(call), true);
            }
            List<String> keys = new ArrayList<>(items.keySet());
            keys.add("multi-none");
            same(main.getBulk(keys), items);
        });
        CHECKS.put("add", main -> {
            same(done(main.add("add", 0, "first")), true);
            same(done(main.add("add", 0, "second")), false);
            same(main.get("add"), "first");
        });
        CHECKS.put("replace", main -> {
            same(done(main.replace("replace", 0, "none")), false);
            set(main, "replace", "old");
            same(done(main.replace("replace", 0, "new")), true);
            same(main.get("replace"), "new");
        });
        CHECKS.put("append", main -> {
            same(done(main.append("append-none", "x")), false);
            set(main, "append", "head");
            same(done(main.append("append", "-tail")), true);
            same(main.get("append"), "head-tail");
        });
        CHECKS.put("prepend", main -> {
            same(done(main.prepend("prepend-none", "x")), false);
            set(main, "prepend", "tail");
            same(done(main.prepend("prepend", "head-")), true);
            same(main.get("prepend"), "head-tail");
        });
        CHECKS.put("incr", main -> {
            set(main, "incr", "10");
            same(main.incr("incr", 5), 15L);
            same(main.get("incr"), "15");
            same(main.incr("incr-new", 5, 7L, 100), 7L);
        });
        CHECKS.put("decr", main -> {
            set(main, "decr", "15");
            same(main.decr("decr", 6), 9L);
            same(main.decr("decr", 100), 0L);
            same(main.get("decr").toString().trim(), "0");
        });
        CHECKS.put("cas", main -> {
            set(main, "cas", "old");
            CASValue<Object> item = main.gets("cas");
            same(item.getValue(), "old");
            same(main.cas("cas", item.getCas(), "new"), CASResponse.OK);
            same(main.cas("cas", item.getCas(), "late"), CASResponse.EXISTS);
            same(main.get("cas"), "new");
        });
        CHECKS.put("touch", main -> {
            done(main.set("touch", 1, "kept"));
            done(main.set("touch-control", 1, "goes"));
            same(done(main.touch("touch", 100)), true);
            untilGone(main, "touch-control");
            same(main.get("touch"), "kept");
            same(done(main.touch("touch-none", 100)), false);
        });
        CHECKS.put("delete", main -> {
            set(main, "delete", "x");
            same(done(main.delete("delete")), true);
            same(main.get("delete"), null);
        });
        CHECKS.put("expiry", main -> {
            done(main.set("expiry-long", 100, "stays"));
            done(main.set("expiry", 1, "goes"));
            untilGone(main, "expiry");
            same(main.get("expiry-long"), "stays");
        });
        CHECKS.put("large-value", main -> {
            byte[] value = noise(MIB - 1024);
            same(set(main, "large", value), true);
            same(Arrays.equals((byte[]) main.get("large"), value), true);
        });
        CHECKS.put("too-large", main -> {
            set(main, "too-large", "old");
            try {
                same(set(main, "too-large", noise(MIB + 1)), false);
            } catch (ExecutionException refusal) {
                if (!(refusal.getCause() instanceof OperationException)) {
                    throw refusal;
                }
            }
            usable(main);
            same(main.get("too-large"), null);
        });
        CHECKS.put("binary-values", main -> {
            byte[] tail = "\r\nEND\r\n\0VALUE x 0 1\r\n".getBytes(StandardCharsets.US_ASCII);
            byte[] value = new byte[256 + tail.length];
            for (int at = 0; at < 256; at++) {
                value[at] = (byte) at;
            }
            System.arraycopy(tail, 0, value, 256, tail.length);
            same(set(main, "binary", value), true);
            same(main.get("binary"), value);
        });
        CHECKS.put("unicode-values", main -> {
            same(set(main, "unicode", TEXT), true);
            same(main.get("unicode"), TEXT);
        });
        CHECKS.put("read-only", WithSpymemcached::readOnly);
        CHECKS.put("no-flush", main -> {
            set(main, "no-flush", "stays");
            MemcachedClient writer = connect("NOFLUSH");
            same(writer.get("no-flush"), "stays");
            same(done(writer.flush()), false);
            usable(writer);
            same(writer.get("no-flush"), "stays");
            same(main.get("no-flush"), "stays");
        });
        CHECKS.put("promotion", main -> {
            set(main, "promotion", "before");
            same(main.get("promotion"), "before");
            waitForTheTest("promotion");
            same(main.get("promotion"), "before");
            usable(main);
        });
        CHECKS.put("promoted-login", main -> {
            waitForTheTest("promoted-login");
            MemcachedClient fresh = connect("PROMOTED");
            same(fresh.get("promotion"), "before");
            same(set(fresh, "promotion", "after"), true);
            same(main.get("promotion"), "after");
        });
        CHECKS.put("flush", main -> {
            set(main, "flush", "x");
            same(done(main.flush()), true);
            same(main.get("flush"), null);
            usable(main);
        });
        CHECKS.put("wrong-password", main -> {
            // The library repeats a refused login for ever, in the background; its calls end by their own time limit.
            MemcachedClient anonymous = connect("MEMCACHIER", "not-the-password", 2_000);
            try {
                same(anonymous.get("set-get"), "an error");
            } catch (OperationTimeoutException refused) {
                return;
            } finally {
                anonymous.shutdown();
            }
        });

        WRITES.put("set", reader -> set(reader, "ro", "9"));
        WRITES.put("add", reader -> done(reader.add("ro-new", 0, "9")));
        WRITES.put("replace", reader -> done(reader.replace("ro", 0, "9")));
        WRITES.put("append", reader -> done(reader.append("ro", "9")));
        WRITES.put("prepend", reader -> done(reader.prepend("ro", "9")));
        WRITES.put("incr", reader -> reader.incr("ro", 1) != -1);
        WRITES.put("decr", reader -> reader.decr("ro", 1) != -1);
        WRITES.put("cas", reader -> reader.cas("ro", reader.gets("ro").getCas(), "9") == CASResponse.OK);
        WRITES.put("touch", reader -> done(reader.touch("ro-life", 1)));
        WRITES.put("get and touch", reader -> reader.getAndTouch("ro-life", 1) != null);
        WRITES.put("delete", reader -> done(reader.delete("ro")));
    }

    static void readOnly(MemcachedClient main) throws Exception {
        set(main, "ro", "7");
        set(main, "ro-life", "kept");
        MemcachedClient reader = connect("READONLY");
        same(reader.get("ro"), "7");
        for (Map.Entry<String, Write> write : WRITES.entrySet()) {
            same(write.getKey() + " " + write.getValue().run(reader), write.getKey() + " false");
            same(reader.get("ro"), "7");
        }
        same(main.get("ro"), "7");
        same(main.get("ro-new"), null);
        done(main.set("ro-control", 1, "goes"));
        untilGone(main, "ro-control");
        same(reader.get("ro-life"), "kept");
    }

    public static void main(String[] arguments) throws Exception {
        MemcachedClient main = connect("MEMCACHIER");
        for (Map.Entry<String, Check> check : CHECKS.entrySet()) {
            try {
                check.getValue().run(main);
                System.out.println("ok " + check.getKey());
            } catch (Throwable fault) {
                fault.printStackTrace();
                System.out.println("not ok " + check.getKey() + " - " + String.valueOf(fault).replace('\n', ' '));
            }
        }
        System.exit(0);
    }
}
