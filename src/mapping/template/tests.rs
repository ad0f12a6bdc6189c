use proptest::prelude::*;

use super::*;

fn template(text: &str) -> KeyTemplate {
    KeyTemplate::parse(text).expect(text)
}

fn written(text: &str, texts: &[&str]) -> String {
    let mut out = Vec::new();
    template(text).write(&mut out, texts.iter().map(|text| text.as_bytes()));
    String::from_utf8(out).expect("UTF-8")
}

#[test]
fn keys_are_written_and_taken_apart() {
    for (text, texts, keyspace, key) in [
        ("/apisix/routes/{id}", &["7"][..], "/apisix/routes/", "/apisix/routes/7"),
        ("traefik/{n}/rule", &["a/b%"], "traefik/", "traefik/a%2Fb%25/rule"),
        ("/skydns/{n:dns}", &["www.a.example"], "/skydns/", "/skydns/example/a/www"),
        ("/d/{n:dns}/x{id}", &["a.b/%", "1"], "/d/", "/d/b%2F%25/a/x1"),
        ("/d/{id}/{n:dns}/y", &["1", "a"], "/d/", "/d/1/a/y"),
        ("/conf/{p:raw}", &["a/b%/"], "/conf/", "/conf/a/b%/"),
        ("/c/{id}/v{p:raw}", &["1", "/"], "/c/", "/c/1/v/"),
        ("/{{c}}/x{id}y", &["1"], "/{c}/x", "/{c}/x1y"),
        ("s/{a}/{b}", &["1", "2"], "s/", "s/1/2"),
    ] {
        assert_eq!(written(text, texts), key, "{text}");
        let template = template(text);
        assert_eq!(template.keyspace(), keyspace.as_bytes(), "{text}");
        assert!(template.gives(key.as_bytes()), "{text}");
        let back = template.texts(key.as_bytes()).expect(text);
        assert_eq!(back, texts, "{text}");
    }
}

#[test]
fn keys_that_a_pattern_cannot_give_are_others() {
    for (text, keys) in [
        ("/r/{id}", &["/r/", "/r", "/r/1/", "/r/1/2", "/s/1", "/r//", ""][..]),
        ("/r/{id}/x", &["/r//x", "/r/1", "/r/1/y", "/r/1/x/", "/r/1/2/x"]),
        ("/r/a{id}z", &["/r/az", "/r/a", "/r/1z", "/r/a1"]),
        ("/d/{n:dns}", &["/d/", "/d//a", "/d/a/", "/d/a//b"]),
        ("/d/{n:dns}/{id}", &["/d/a", "/d/a/", "/d//1"]),
        ("/c/{p:raw}", &["/c/", "/c"]),
    ] {
        for key in keys {
            assert!(!template(text).gives(key.as_bytes()), "{text} {key}");
            assert_eq!(template(text).texts(key.as_bytes()), None, "{text} {key}");
        }
    }
    // The pattern alone counts, not what the column's text is.
    assert!(template("/r/{id}").gives(b"/r/%zz") && template("/r/{id}").gives(b"/r/\xff"));
    assert_eq!(template("/r/{id}").texts(b"/r/%zz"), None);
}

#[test]
fn the_keys_of_a_table_without_a_template() {
    let columns = ["a".to_owned(), "b".to_owned()];
    let template = KeyTemplate::below(b"/p/t/", &columns);
    assert_eq!(template.keyspace(), b"/p/t/");
    let mut key = Vec::new();
    template.write(&mut key, [&b""[..], b"x/y"]);
    assert_eq!(key, b"/p/t//x%2Fy");
    assert_eq!(template.texts(&key), Some(vec![String::new(), "x/y".to_owned()]));
    assert!(template.takes([&b""[..], b""]));
    for key in [&b"/p/t/"[..], b"/p/t/1/2/3"] {
        assert!(template.gives(key) && template.texts(key).is_none());
    }
}

#[test]
fn rows_that_a_template_does_not_take() {
    for (text, texts, takes) in [
        ("/r/{a}/{b}", &["1", "2"][..], true),
        ("/r/{a}/{b}", &["1", ""], false),
        ("/r/{a:raw}", &["/"], true),
        ("/r/{a:raw}", &[""], false),
        ("/r/{a:dns}", &["a.b"], true),
        ("/r/{a:dns}", &["a..b"], false),
        ("/r/{a:dns}", &["a.b."], false),
        ("/r/{a:dns}", &[".a"], false),
        ("/r/{a:dns}", &[""], false),
    ] {
        let texts = texts.iter().map(|text| text.as_bytes());
        assert_eq!(template(text).takes(texts), takes, "{text}");
    }
}

#[test]
fn templates_that_are_refused() {
    for (text, problem) in [
        ("", "literal text of more than /"),
        ("/", "literal text of more than /"),
        ("{id}", "literal text of more than /"),
        ("/{id}", "literal text of more than /"),
        ("/a/{b:row}", "unknown filter row in {b:row}, did you mean raw?"),
        ("/a/{:raw}", "unknown filter raw"),
        ("/a/{b:raw}/c", "before its end"),
        ("/a/{b:raw}c", "before its end"),
        ("/a/{b}{c}", "two placeholders"),
        ("/a/{b}-{c}", "two placeholders"),
        ("/a/{b:dns}/{c:raw}", "more than one :dns or :raw"),
        ("/a/{b:dns}/x/{c:dns}", "more than one :dns or :raw"),
        ("/a/{b", "lone {"),
        ("/a/{}", "no column"),
    ] {
        let found = KeyTemplate::parse(text).expect_err(text);
        assert!(found.contains(problem), "{text}: {found}");
    }
}

#[test]
fn templates_that_may_give_one_key() {
    for (one, other, meet) in [
        ("/a/{x}/rule", "/a/{x}/service", false),
        ("/a/{x}/rule", "/a/{x}/{y}", true),
        ("/a/{x}", "/a/{x}/y", false),
        ("/a/{x}", "/a/{y}", true),
        ("/a/b{x}", "/a/c{x}", false),
        ("/a/b{x}", "/a/bc{x}", true),
        ("/a/{x}b", "/a/{x}c", false),
        ("/a/x{x}", "/a/x", false),
        ("/a/{x:dns}/r", "/a/{x:dns}/s", false),
        ("/a/{x:dns}/r", "/a/{x}/r", true),
        ("/a/{x:dns}", "/a/{x}/r", true),
        ("/a/r/{x:raw}", "/a/s/{x:raw}", false),
        ("/a/r/{x:raw}", "/a/{x}/b", true),
        ("/a/r{x:dns}", "/a/s{x:dns}", false),
        ("/a/r{x:dns}", "/a/{x:dns}", true),
    ] {
        assert_eq!(template(one).may_meet(&template(other)), meet, "{one} {other}");
        assert_eq!(template(other).may_meet(&template(one)), meet, "{other} {one}");
    }
}

fn templates() -> impl Strategy<Value = String> {
    let literal = "[a{}]{0,2}".prop_map(|text| text.replace('{', "{{").replace('}', "}}"));
    let segment = (literal.clone(), any::<bool>(), literal)
        .prop_map(|(a, has, b)| if has { format!("{a}{{c}}{b}") } else { a });
    (prop::collection::vec(segment, 1..4), 0..3_usize, 0..4_usize).prop_map(
        |(mut segments, wide, at)| {
            match wide {
                1 => segments.push("x{c:raw}".to_owned()),
                2 => segments.insert(at.min(segments.len()), "y{c:dns}z".to_owned()),
                _ => {}
            }
            format!("k/{}", segments.join("/"))
        },
    )
}

proptest! {
    #[test]
    fn a_key_gives_its_placeholders_back(
        text in templates(),
        texts in prop::collection::vec("[a%/.xyz{}]{1,5}", 5),
    ) {
        let template = template(&text);
        let texts: Vec<&str> = texts.iter().map(String::as_str).take(template.columns().count()).collect();
        prop_assume!(template.takes(texts.iter().map(|text| text.as_bytes())));
        let key = written(&text, &texts);
        prop_assert!(template.gives(key.as_bytes()), "{} {}", text, key);
        prop_assert_eq!(template.texts(key.as_bytes()).expect("its key"), texts, "{} {}", text, key);
    }

    #[test]
    fn no_texts_panic(text in ".{0,16}", key in prop::collection::vec(any::<u8>(), 0..24)) {
        if let Ok(template) = KeyTemplate::parse(&text) {
            prop_assert!(template.texts(&key).is_none() || template.gives(&key));
        }
        if let Ok(template) = KeyTemplate::parse("k/{c:dns}/{d}") {
            let key = [b"k/", &key[..]].concat();
            prop_assert!(template.texts(&key).is_none() || template.gives(&key));
        }
    }
}
