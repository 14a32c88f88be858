// SPDX-License-Identifier: Apache-2.0
import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;
import org.apache.kafka.common.utils.Exit;

/**
 * Runs the main methods of Kafka's tools one after the other in one JVM: its start is most of what a tool costs.
 * A line asks: base64 fields class, standard input, arguments…; a line answers: exit status, output, errors.
 */
public class ToolRunner {
    private static final class Ended extends RuntimeException {
    }

    /** Of the first exit: what a tool does when its exit throws is its own affair, and is not told. */
    private static volatile Integer ended;

    private static void end(int status) {
        if (ended == null) {
            ended = status;
            runHooks();
            System.out.flush();
            System.err.flush();
            out.shut = err.shut = true;
        }
        throw new Ended();
    }

    private static void runHooks() {
        List<Runnable> now = new ArrayList<>(hooks);

        hooks.clear();
        now.forEach(Runnable::run);
    }

    /** Some classes keep the System.out they see first, so that one stays and what stands behind it changes. */
    private static final class Switch extends OutputStream {
        volatile ByteArrayOutputStream to = new ByteArrayOutputStream();
        volatile boolean shut;

        @Override
        public void write(int b) {
            if (!shut)
                to.write(b);
        }

        @Override
        public void write(byte[] b, int from, int n) {
            if (!shut)
                to.write(b, from, n);
        }

        void begin() {
            to = new ByteArrayOutputStream();
            shut = false;
        }
    }

    /** What a tool does when its JVM ends: here when it does itself. */
    private static final List<Runnable> hooks = new ArrayList<>();

    private static final Switch out = new Switch();
    private static final Switch err = new Switch();

    private static String text(String field) {
        return new String(Base64.getDecoder().decode(field), StandardCharsets.UTF_8);
    }

    private static String field(ByteArrayOutputStream bytes) {
        return Base64.getEncoder().encodeToString(bytes.toByteArray());
    }

    private static int run(String name, String[] args) throws Throwable {
        try {
            Class.forName(name).getMethod("main", String[].class).invoke(null, (Object) args);
            return 0;
        } catch (ClassNotFoundException e) {
            System.err.println(e);
            return 1;
        } catch (InvocationTargetException e) {
            if (ended == null)
                e.getCause().printStackTrace();
            return 1;
        }
    }

    public static void main(String[] ignored) throws Throwable {
        PrintStream answers = System.out;
        BufferedReader asks = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));

        System.setOut(new PrintStream(out, true));
        System.setErr(new PrintStream(err, true));
        Exit.setExitProcedure((status, message) -> end(status));
        Exit.setHaltProcedure((status, message) -> end(status));
        Exit.setShutdownHookAdder((name, hook) -> hooks.add(hook));
        for (String line; (line = asks.readLine()) != null; ) {
            String[] fields = Arrays.stream(line.split(" ", -1)).map(ToolRunner::text).toArray(String[]::new);
            int status;

            out.begin();
            err.begin();
            ended = null;
            System.setIn(new ByteArrayInputStream(fields[1].getBytes(StandardCharsets.UTF_8)));
            status = run(fields[0], Arrays.copyOfRange(fields, 2, fields.length));
            runHooks();
            System.out.flush();
            System.err.flush();
            if (ended != null)
                status = ended;
            answers.println(status + " " + field(out.to) + " " + field(err.to));
            answers.flush();
        }
        Runtime.getRuntime().halt(0); // clients of a tool that failed may still have threads
    }
}
