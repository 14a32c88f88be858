// SPDX-License-Identifier: Apache-2.0
import java.io.DataOutputStream;
import java.io.FileOutputStream;
import java.io.OutputStreamWriter;
import java.io.Writer;
import java.lang.reflect.Field;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.lang.reflect.ParameterizedType;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.zip.GZIPOutputStream;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.message.RequestHeaderData;
import org.apache.kafka.common.message.ResponseHeaderData;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.ObjectSerializationCache;
import org.apache.kafka.common.protocol.types.BoundField;
import org.apache.kafka.common.protocol.types.Schema;
import org.apache.kafka.common.protocol.types.TaggedFields;
import org.apache.kafka.common.protocol.types.Type;
import org.apache.kafka.common.record.MemoryRecords;

/**
 * Writes frames that Apache Kafka's own message classes made from random values, and the layout of every message.
 *
 * The values come from a fixed seed; which fields exist in a version, and of what type, is asked from the classes
 * themselves. Frames are a header and a body for requests and responses, a body alone for everything else.
 *
 * Usage: Frames FRAMES_PER_VERSION frames.bin.gz layouts.txt.gz KEY[:FROM_VERSION]... -- CLASS...
 *   frames.bin.gz   repeats {u8 kind: 0 request, 1 response, 2 data; i16 key; u8 n, name[n]; i16 version; i32 n, frame[n]}
 *   layouts.txt.gz  a line for every message and version: the fields in the order of the wire
 */
public final class Frames {
    private static final int CORRELATION = 0x01020304;
    private final Random random = new Random(3818);
    private final int perVersion;
    private int from;                      // earlier versions are left out
    private int depth;
    private int style;                     // 0 everything is empty or default, 1 nulls where they may be, above: random

    private Frames(int perVersion) { this.perVersion = perVersion; }

    public static void main(String[] args) throws Exception {
        Frames f = new Frames(Integer.parseInt(args[0]));
        boolean keys = true;
        try (DataOutputStream frames = new DataOutputStream(new GZIPOutputStream(new FileOutputStream(args[1])) { { def.setLevel(9); } });
             Writer layouts = new OutputStreamWriter(new GZIPOutputStream(new FileOutputStream(args[2])) { { def.setLevel(9); } }, StandardCharsets.UTF_8)) {
            for (int i = 3; i < args.length; i++) {
                if (args[i].equals("--")) { keys = false; continue; }
                if (keys) {
                    String[] key = args[i].split(":");
                    f.from = key.length > 1 ? Integer.parseInt(key[1]) : 0;
                    ApiKeys api = ApiKeys.forId(Integer.parseInt(key[0]));
                    f.all(0, api, "org.apache.kafka.common.message." + api.name + "RequestData", frames, layouts);
                    f.all(1, api, "org.apache.kafka.common.message." + api.name + "ResponseData", frames, layouts);
                } else {
                    f.from = 0;
                    f.all(2, null, args[i], frames, layouts);
                }
            }
        }
    }

    private void all(int kind, ApiKeys api, String name, DataOutputStream frames, Writer layouts) throws Exception {
        Class<?> type = Class.forName(name);
        Schema[] schemas = (Schema[]) type.getField("SCHEMAS").get(null);
        String shortName = type.getSimpleName().replaceAll("Data$", "");
        for (short v = (short) from; v < schemas.length; v++) {
            if (schemas[v] == null) continue;
            layouts.write(shortName + " " + v + ":" + layout(schemas[v]) + "\n");
            for (int i = 0; i < perVersion; i++) {
                byte[] frame = frame(kind, api, type, schemas[v], v, i);
                frames.writeByte(kind);
                frames.writeShort(api == null ? -1 : api.id);
                frames.writeByte(shortName.length());
                frames.writeBytes(shortName);
                frames.writeShort(v);
                frames.writeInt(frame.length);
                frames.write(frame);
            }
        }
    }

    private byte[] frame(int kind, ApiKeys api, Class<?> type, Schema schema, short version, int i) throws Exception {
        for (style = i; ; style = 2) {     // a null in a struct that may not be null: only the writer knows; try again
            try {
                Message body = (Message) fill(type, schema);
                Message header = kind == 0 ? new RequestHeaderData().setRequestApiKey(api.id).setRequestApiVersion(version)
                        .setCorrelationId(CORRELATION).setClientId(i == 1 ? null : string())
                    : kind == 1 ? new ResponseHeaderData().setCorrelationId(CORRELATION) : null;
                byte[] h = header == null ? new byte[0]
                    : bytes(header, kind == 0 ? api.requestHeaderVersion(version) : api.responseHeaderVersion(version));
                byte[] b = bytes(body, version);
                byte[] both = new byte[h.length + b.length];
                System.arraycopy(h, 0, both, 0, h.length);
                System.arraycopy(b, 0, both, h.length, b.length);
                return both;
            } catch (NullPointerException e) {
                if (style != i && i > 1000) throw e;
            }
        }
    }

    private static byte[] bytes(Message m, short version) {
        ObjectSerializationCache cache = new ObjectSerializationCache();
        ByteBuffer buf = ByteBuffer.allocate(m.size(cache, version));
        m.write(new ByteBufferAccessor(buf), cache, version);
        if (buf.hasRemaining()) throw new IllegalStateException(m + ": size and write disagree");
        return buf.array();
    }

    // ---- layouts

    @SuppressWarnings("unchecked")
    private static Map<Integer, org.apache.kafka.common.protocol.types.Field> tags(TaggedFields t) {
        try {
            Field f = TaggedFields.class.getDeclaredField("fields");
            f.setAccessible(true);
            return new TreeMap<>((Map<Integer, org.apache.kafka.common.protocol.types.Field>) f.get(t));
        } catch (ReflectiveOperationException e) {
            throw new IllegalStateException(e);
        }
    }

    private static String layout(Schema s) {
        StringBuilder b = new StringBuilder();
        for (BoundField f : s.fields()) {
            if (f.def.type instanceof TaggedFields) {
                b.append(" {");
                tags((TaggedFields) f.def.type).forEach((tag, d) -> b.append(' ').append(tag).append('=').append(d.name).append(':').append(type(d.type)));
                b.append(" }");
            } else {
                b.append(' ').append(f.def.name).append(':').append(type(f.def.type));
            }
        }
        return b.toString();
    }

    private static String type(Type t) {
        if (t instanceof Schema) return "(" + layout((Schema) t) + " )";
        if (t.isArray()) return (t.isNullable() ? "?" : "") + (t.toString().startsWith("COMPACT") ? "compact" : "") + "[" + type(t.arrayElementType().get()) + "]";
        return t.toString();
    }

    // ---- values

    private Object fill(Class<?> type, Schema schema) throws Exception {
        Object o = type.getDeclaredConstructor().newInstance();
        depth++;
        for (BoundField f : schema.fields()) {
            if (f.def.type instanceof TaggedFields) {
                for (var d : tags((TaggedFields) f.def.type).values())
                    if (style != 0 && random.nextInt(3) != 0) set(o, d.name, d.type);
            } else {
                set(o, f.def.name, f.def.type);
            }
        }
        depth--;
        return o;
    }

    private void set(Object o, String name, Type t) throws Exception {
        String wanted = "set" + name.replace("_", "");
        for (Method m : o.getClass().getMethods()) {
            if (m.getParameterCount() == 1 && m.getName().equalsIgnoreCase(wanted) && !Modifier.isStatic(m.getModifiers())) {
                java.lang.reflect.Type g = m.getGenericParameterTypes()[0];
                m.invoke(o, value(m.getParameterTypes()[0], g, t));
                return;
            }
        }
        throw new NoSuchMethodException(o.getClass() + "." + wanted);
    }

    private boolean nullNow(boolean may) { return may && (style == 1 || style > 1 && random.nextInt(3) == 0); }

    private long number(long min, long max) {
        if (style == 0) return 0;
        switch (random.nextInt(8)) {
            case 0: return min;
            case 1: return max;
            case 2: return Math.max(min, -1);
            case 3: return 0;
            case 4: case 5: return random.nextInt(100);
            default: return min + Math.floorMod(random.nextLong(), max - min + 1 <= 0 ? Long.MAX_VALUE : max - min + 1);
        }
    }

    private String string() {
        if (style == 0) return "";
        StringBuilder b = new StringBuilder();
        int n = random.nextInt(20) == 0 ? 120 + random.nextInt(20) : random.nextInt(9);
        for (int i = 0; i < n; i++) b.append(random.nextInt(12) == 0 ? new String[] {"ä", "€", "😀", "\0"}[random.nextInt(4)] : String.valueOf((char) ('a' + random.nextInt(26))));
        return b.toString();
    }

    private byte[] blob() {
        byte[] b = new byte[style == 0 ? 0 : random.nextInt(20) == 0 ? 125 + random.nextInt(10) : random.nextInt(12)];
        random.nextBytes(b);
        return b;
    }

    private Object value(Class<?> c, java.lang.reflect.Type g, Type t) throws Exception {
        if (c == boolean.class) return style != 0 && random.nextBoolean();
        if (c == byte.class) return (byte) number(Byte.MIN_VALUE, Byte.MAX_VALUE);
        if (c == short.class) return (short) number(Short.MIN_VALUE, Short.MAX_VALUE);
        if (c == int.class) return t == Type.UINT16 ? (int) number(0, 65535) : (int) number(Integer.MIN_VALUE, Integer.MAX_VALUE);
        if (c == long.class) return t == Type.UNSIGNED_INT32 ? number(0, 0xffffffffL) : number(Long.MIN_VALUE, Long.MAX_VALUE);
        if (c == double.class) return style == 0 ? 0.0 : random.nextGaussian() * 1e6;
        if (c == Uuid.class) return style == 0 ? Uuid.ZERO_UUID : new Uuid(random.nextLong(), random.nextLong());
        boolean may = t.isNullable() || t instanceof Schema || t == Type.RECORDS || t == Type.COMPACT_RECORDS;
        if (nullNow(may)) return null;
        if (c == String.class) return string();
        if (c == byte[].class) return blob();
        if (c == ByteBuffer.class) return ByteBuffer.wrap(blob());
        if (c.getSimpleName().equals("BaseRecords")) return MemoryRecords.readableRecords(ByteBuffer.wrap(blob()));
        if (t instanceof Schema) return fill(c, (Schema) t);
        return array(c, g, t.arrayElementType().get());
    }

    @SuppressWarnings("unchecked")
    private Object array(Class<?> c, java.lang.reflect.Type g, Type element) throws Exception {
        Collection<Object> all = (Collection<Object>) (c == List.class ? new ArrayList<>() : c.getDeclaredConstructor().newInstance());
        ParameterizedType p = (ParameterizedType) (c == List.class ? g : c.getGenericSuperclass());
        Class<?> e = (Class<?>) p.getActualTypeArguments()[0];
        int n = style == 0 ? 0 : depth > 2 ? random.nextInt(2) + random.nextInt(2) : random.nextInt(4);
        if (random.nextInt(40) == 0 && !(element instanceof Schema) && style > 1) n = 130;
        for (int i = 0; i < n; i++) all.add(element instanceof Schema ? fill(e, (Schema) element) : value(unboxed(e), e, element));
        return all;
    }

    private static Class<?> unboxed(Class<?> c) {
        return c == Integer.class ? int.class : c == Long.class ? long.class : c == Short.class ? short.class : c == Byte.class ? byte.class : c;
    }
}
