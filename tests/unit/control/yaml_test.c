/* The tree of YAML and JSON, and strict reading. SPDX-License-Identifier: Apache-2.0 */
#include "control/yaml.h"
#include "test.h"

struct parsed {
    struct arena arena;
    struct problems problems;
    struct yaml_node **docs;
    size_t n;
    bool ok;
};

static struct parsed parse(const char *text)
{
    struct parsed p = {0};
    p.ok = yaml_parse(str_of(text), STR("f.yaml"), &p.arena, &p.problems, &p.docs, &p.n);
    return p;
}

static void drop(struct parsed *p)
{
    problems_fini(&p->problems);
    arena_fini(&p->arena);
}

static void assert_problems(const struct problems *p, const char *wanted)
{
    struct buf b = {0};
    problems_print(p, &b);
    assert_string_equal(buf_cstr(&b), wanted);
    buf_fini(&b);
}

static void assert_json(const char *yaml, const char *wanted)
{
    struct parsed p = parse(yaml);
    struct buf b = {0};
    assert_true(p.ok);
    assert_int_equal(p.n, 1);
    yaml_put_json(p.docs[0], &b);
    assert_string_equal(buf_cstr(&b), wanted);
    buf_fini(&b);
    drop(&p);
}

static void a_document_becomes_json_with_its_types(void **state)
{
    (void)state;
    assert_json(
        "a: 1\nb: \"1\"\nc: [true, 'true', ~, null, x y]\nd: {e: 1.5e3, f: 0x10, g: 007, h: .5}\n",
        "{\"a\":1,\"b\":\"1\",\"c\":[true,\"true\",null,null,\"x "
        "y\"],\"d\":{\"e\":\"1.5e3\",\"f\":\"0x10\",\"g\":\"007\",\"h\":\".5\"}}");
}

static void json_is_read_as_it_is(void **state)
{
    (void)state;
    assert_json("{\"a\":[{\"b\":\"c\\nd\\u00e9\"}],\"e\":{},\"f\":[]}",
                "{\"a\":[{\"b\":\"c\\nd\xc3\xa9\"}],\"e\":{},\"f\":[]}");
}

static void documents_are_separated_and_empty_ones_left_out(void **state)
{
    (void)state;
    struct parsed p = parse("---\n# nothing\n---\na: 1\n---\n---\nb: 2\n");
    assert_true(p.ok);
    assert_int_equal(p.n, 2);
    assert_int_equal(p.docs[1]->line, 7);
    drop(&p);
}

static void nodes_know_where_they_are(void **state)
{
    (void)state;
    struct parsed p = parse("a:\n  - x\n  -   yy\n");
    const struct yaml_node *yy = yaml_get(p.docs[0], "a")->items[1];
    assert_int_equal(yy->line, 3);
    assert_int_equal(yy->column, 7);
    assert_int_equal(yy->end - yy->start, 2);
    drop(&p);
}

static void a_key_twice_is_a_problem_and_reading_goes_on(void **state)
{
    (void)state;
    struct parsed p = parse("a: 1\nb: {c: 1, c: 2}\na: 3\n");
    assert_true(p.ok);
    assert_problems(
        &p.problems,
        "f.yaml:2:11: the key \"c\" is there twice\nf.yaml:3:1: the key \"a\" is there twice\n");
    drop(&p);
}

static void what_is_no_yaml_says_where(void **state)
{
    (void)state;
    struct parsed p = parse("a: [1, 2\nb: 3\n");
    assert_false(p.ok);
    assert_int_equal(p.problems.n, 1);
    assert_int_equal(p.problems.list[0].line, 2);
    assert_true(str_starts(p.problems.list[0].text, STR("not YAML: ")));
    drop(&p);
    p = parse("a:\n\tb: 3\n");
    assert_problems(&p.problems, "f.yaml:2:1: not YAML: while scanning for the next token: found character that cannot start any token (a tab? YAML is indented "
                                 "with spaces; a value that begins with @, % or ` needs quotes)\n");
    drop(&p);
}

static void an_alias_is_the_node_once_more(void **state)
{
    (void)state;
    assert_json("a: &x [1, 2]\nb: *x\n", "{\"a\":[1,2],\"b\":[1,2]}");
}

static void an_alias_inside_itself_is_refused(void **state)
{
    (void)state;
    struct parsed p = parse("a: &x [1, *x]\n");
    assert_false(p.ok);
    assert_problems(&p.problems,
                    "f.yaml:1:11: this alias names nothing that was complete before it\n");
    drop(&p);
}

static void a_few_aliases_cannot_stand_for_millions_of_nodes(void **state)
{
    (void)state;
    struct buf b = {0};
    struct parsed p;
    buf_append_str(&b, STR("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"));
    for (int i = 1; i < 9; i++)
        buf_printf(&b, "a%d: &a%d [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d]\n", i, i, i - 1,
                   i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
    p = parse(buf_cstr(&b));
    assert_false(p.ok);
    assert_true(
        str_is(p.problems.list[0].text,
               "too large: more than a million values, or aliases that stand for too much"));
    drop(&p);
    buf_fini(&b);
}

static void a_long_text_cannot_be_multiplied_either(void **state)
{
    (void)state;
    struct buf b = {0};
    struct parsed p;
    buf_append_str(&b, STR("a: &a "));
    for (int i = 0; i < 100000; i++)
        buf_append_byte(&b, 'x');
    buf_append_str(&b, STR("\nb: ["));
    for (int i = 0; i < 1000; i++)
        buf_append_str(&b, STR("*a, "));
    buf_append_str(&b, STR("]\n"));
    p = parse(buf_cstr(&b));
    assert_false(p.ok);
    assert_true(str_starts(p.problems.list[0].text, STR("too large: ")));
    drop(&p);
    buf_fini(&b);
}

static void depth_is_bounded(void **state)
{
    (void)state;
    char text[2 * YAML_DEPTH_MAX + 3] = {0};
    memset(text, '[', YAML_DEPTH_MAX + 1);
    memset(text + YAML_DEPTH_MAX + 1, ']', YAML_DEPTH_MAX + 1);
    struct parsed p = parse(text);
    assert_false(p.ok);
    assert_true(str_is(p.problems.list[0].text, "lists and maps are nested too deeply"));
    drop(&p);
}

static void stored_json_reads_back_the_same(void **state)
{
    (void)state;
    static const char text[] = "{\"a\":[1,-2,true,null,\"x\\u007f\"],\"b\":{\"c\":\"1.10\"}}";
    struct arena a = {0};
    struct yaml_node *n;
    struct err e = {0};
    struct buf b = {0};
    assert_int_equal(yaml_of_json(str_of(text), &a, &n, &e), RC_OK);
    assert_str(yaml_get(n, "a")->items[4]->text, "x\x7f");
    yaml_put_json(n, &b);
    assert_int_equal(yaml_of_json(buf_str(&b), &a, &n, &e), RC_OK);
    assert_str(yaml_get(yaml_get(n, "b"), "c")->text, "1.10");
    assert_int_equal(yaml_of_json(STR("{\"a\":1,\"a\":2}"), &a, &n, &e), RC_INVALID);
    assert_int_equal(yaml_of_json(STR("{\"a\":1} x"), &a, &n, &e), RC_INVALID);
    arena_fini(&a);
    buf_fini(&b);
}

static void tags_are_refused(void **state)
{
    (void)state;
    struct parsed p = parse("a: !exec rm\n");
    assert_false(p.ok);
    assert_problems(&p.problems, "f.yaml:1:4: tags (!\xe2\x80\xa6) have no meaning here\n");
    drop(&p);
}

static void a_map_is_read_strictly_and_all_its_mistakes_are_told(void **state)
{
    (void)state;
    struct parsed p =
        parse("name: [x]\nbig: 70000\nflag: maybe\nlist: [a, {b: c}, ~]\nnaem: y\nsub: 3\n");
    struct yaml_map m, sub;
    size_t n;
    yaml_map_begin(&m, p.docs[0], STR("f.yaml"), STR("spec"), &p.arena, &p.problems);
    assert_null(yaml_map_text(&m, "name").at);
    assert_int_equal(yaml_map_int(&m, "big", 0, 65535, 7), 7);
    assert_true(yaml_map_bool(&m, "flag", true));
    struct yaml_text *texts = yaml_map_texts(&m, "list", &n);
    assert_int_equal(n, 2);
    assert_str(texts[0].s, "a");
    assert_int_equal(texts[1].s.n, 0);
    yaml_map_sub(&m, "sub", &sub);
    assert_null(sub.node);
    yaml_map_end(&m);
    assert_problems(
        &p.problems,
        "f.yaml:1:7: spec.name: a text is wanted\n"
        "f.yaml:2:6: spec.big: a whole number from 0 to 65535 is wanted, not \"70000\"\n"
        "f.yaml:3:7: spec.flag: true or false is wanted, not \"maybe\"\n"
        "f.yaml:4:11: spec.list[1]: a text is wanted\n"
        "f.yaml:6:6: spec.sub: names with values are wanted here\n"
        "f.yaml:5:1: unknown field \"naem\" in spec; known are name, big, flag, list, sub\n");
    drop(&p);
}

static void yaml_that_is_written_reads_back_the_same(void **state)
{
    (void)state;
    static const char *const all[] = {
        "{\"a\":1,\"b\":\"1\",\"c\":\"true\",\"d\":true,\"e\":\"\",\"f\":null,\"g\":[],\"h\":{}}",
        "[[1,2],[{\"a\":[{\"b\":\"x: y\"}]},\"- z\"],\"# no\",\"no\",\"a/b.c-d\"]",
        "{\"x y\":{\"0\":\"line\\nline\",\"k\":[{\"a\":1,\"b\":[2]},{\"c\":3}]}}",
    };
    for (size_t i = 0; i < countof(all); i++) {
        struct parsed p = parse(all[i]);
        struct buf b = {0};
        assert_true(p.ok);
        yaml_put_block(p.docs[0], 0, &b);
        assert_json(buf_cstr(&b), all[i]);
        buf_fini(&b);
        drop(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_document_becomes_json_with_its_types),
        cmocka_unit_test(json_is_read_as_it_is),
        cmocka_unit_test(documents_are_separated_and_empty_ones_left_out),
        cmocka_unit_test(nodes_know_where_they_are),
        cmocka_unit_test(a_key_twice_is_a_problem_and_reading_goes_on),
        cmocka_unit_test(what_is_no_yaml_says_where),
        cmocka_unit_test(an_alias_is_the_node_once_more),
        cmocka_unit_test(an_alias_inside_itself_is_refused),
        cmocka_unit_test(a_few_aliases_cannot_stand_for_millions_of_nodes),
        cmocka_unit_test(a_long_text_cannot_be_multiplied_either),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(stored_json_reads_back_the_same),
        cmocka_unit_test(tags_are_refused),
        cmocka_unit_test(a_map_is_read_strictly_and_all_its_mistakes_are_told),
        cmocka_unit_test(yaml_that_is_written_reads_back_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
