//! Every built-in type, with values at its limits.

/// A type's values, from a version on.
pub(super) struct Sample {
    pub(super) name: &'static str,
    pub(super) since: u32,
    pub(super) values: &'static [&'static str],
}

const fn sample(name: &'static str, values: &'static [&'static str]) -> Sample {
    Sample { name, since: 10, values }
}

const fn since(since: u32, name: &'static str, values: &'static [&'static str]) -> Sample {
    Sample { name, since, values }
}

pub(super) const SAMPLES: &[Sample] = &[
    // Numbers
    sample("int2", &["-32768", "0", "32767"]),
    sample("int4", &["-2147483648", "2147483647"]),
    sample("int8", &["-9223372036854775808", "9223372036854775807"]),
    sample(
        "float4",
        &["0.1", "-0", "1e-45", "3.4028235e38", "1e10", "NaN", "Infinity", "-Infinity"],
    ),
    sample(
        "float8",
        &[
            "0.1",
            "-0",
            "5e-324",
            "1.7976931348623157e308",
            "1e15",
            "1e16",
            "NaN",
            "Infinity",
            "-Infinity",
        ],
    ),
    sample(
        "numeric",
        &["0", "1.10", "-1e-30", "1e40", "123456789012345678901234567890.1234567890", "NaN"],
    ),
    since(14, "numeric", &["Infinity", "-Infinity"]),
    sample("numeric(12, 2)", &["-0.5", "9999999999.99"]),
    since(15, "numeric(3, -2)", &["12345", "-99900"]),
    sample("money", &["-92233720368547758.08", "1234.5", "0"]),
    sample("bool", &["t", "f"]),
    // Text
    sample("text", TEXTS),
    sample("varchar(20)", TEXTS),
    sample("bpchar", &["", "x  ", "ä/%"]),
    sample("char(5)", &["", "x", "ab cd", "é"]),
    sample("\"char\"", &["x", "", "\"", "/"]),
    sample("name", &["", "a \"name\"", "a/b%c"]),
    sample("bytea", &["", "\\x", "\\x00ff22275c", "\\x7b2c7d"]),
    sample(
        "uuid",
        &["00000000-0000-0000-0000-000000000000", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"],
    ),
    sample("mood", &["sad", "a \"b\",{c}\\", "NULL", "ö/%"]),
    // Dates and times
    sample(
        "date",
        &[
            "2024-02-29",
            "0044-03-15 BC",
            "4713-01-01 BC",
            "10000-01-01",
            "5874897-12-31",
            "infinity",
            "-infinity",
        ],
    ),
    sample("timestamp", TIMESTAMPS),
    sample("timestamp(0)", &["2024-02-29 23:59:59.6"]),
    sample("timestamptz", TIMESTAMPS),
    sample(
        "timestamptz(3)",
        &["1890-01-01 12:34:56.789012 Europe/Amsterdam", "0044-03-15 12:00:00-11:30 BC"],
    ),
    sample("time", &["00:00", "24:00", "23:59:59.999999"]),
    sample("timetz", &["00:00+15:59", "24:00-15:59", "12:00:00.5+05:30", "01:02:03-00:00:30"]),
    sample(
        "interval",
        &[
            "0",
            "1 year -2 mons +3 days -04:05:06.789",
            "-178000000 years",
            "178000000 years",
            "-00:00:00.000001",
        ],
    ),
    since(17, "interval", &["infinity", "-infinity"]),
    // Bits, networks, shapes
    sample("bit(5)", &["00000", "10101"]),
    sample("varbit", &["", "1", "101010101010101010101"]),
    sample("inet", &["192.168.0.1", "10.0.0.0/8", "::1", "2001:db8::/32", "::ffff:1.2.3.4"]),
    sample("cidr", &["10.0.0.0/8", "192.168.0.1/32", "2001:db8::/32", "0.0.0.0/0"]),
    sample("macaddr", &["08:00:2b:01:02:03"]),
    sample("macaddr8", &["08:00:2b:01:02:03:04:05"]),
    sample("point", &["(0.1,-0)", "(NaN,Infinity)", "(1e300,-1e-300)"]),
    sample("line", &["{1,-1,0}", "{0.1,0.2,0.3}"]),
    sample("lseg", &["[(0,0),(1,1)]"]),
    sample("box", &["(1,1),(0,0)", "(1e20,3),(-2,-1e20)"]),
    sample("path", &["[(0,0),(1,1)]", "((0,0),(1,1),(2,0))"]),
    sample("polygon", &["((0,0),(1,1),(2,0))"]),
    sample("circle", &["<(0,0),1>", "<(0.1,0.2),0.3>"]),
    // Documents and searches
    sample("json", JSON),
    sample(
        "jsonb",
        &[
            "{ \"b\" : 1.10, \"a\": [null, true, {\"\": \"\\u0001\\\"\\\\/é\"}], \"b\": 1e2 }",
            "[]",
            "\"\"",
            "null",
            "-0",
        ],
    ),
    since(12, "jsonpath", &["$", "lax $.\"a b\"[*] ? (@ > 1 && @ like_regex \"^\\\\d\")"]),
    sample("xml", &["<a b='c\"'>x &amp; y\n</a>", "text", ""]),
    sample("tsvector", &["", "'a':1A,2 'b''c':3 'd\\\\e' 'f\"g'"]),
    sample("tsquery", &["", "'a':*A & !( 'b' | 'c''d' <2> 'e' )"]),
    // Ranges
    sample("int4range", &["empty", "[1,10)", "(,5]", "(,)"]),
    sample("int8range", &["[-9223372036854775808,9223372036854775807)"]),
    sample("numrange", &["[1.10,2.20]", "(,0.0)"]),
    sample("daterange", &["[2024-01-01,2024-12-31]", "[infinity,)", "[0044-03-15 BC,10000-01-01)"]),
    sample("tsrange", &["[\"2024-01-01 00:00:00\",infinity)", "(,\"0044-03-15 00:00:00 BC\")"]),
    sample("tstzrange", &["[\"2024-01-01 00:00:00+05\",)"]),
    since(14, "int4multirange", &["{}", "{[1,2),[5,)}"]),
    since(14, "int8multirange", &["{[1,2)}"]),
    since(14, "nummultirange", &["{[1.1,2.2],(3,4)}"]),
    since(14, "datemultirange", &["{[2024-01-01,2024-02-01)}"]),
    since(14, "tsmultirange", &["{[\"2024-01-01 00:00:00\",\"2024-01-02 00:00:00\")}"]),
    since(14, "tstzmultirange", &["{[\"2024-01-01 00:00:00+05\",)}"]),
    // Of an extension; left out where there is none
    sample("hstore", &["", "\"a b\"=>\"1\", \"c\"=>NULL, \"q\\\"\"=>\"\\\\\"", "t=>t"]),
    // The system's own
    sample("oid", &["0", "4294967295"]),
    sample("xid", &["0", "4294967295"]),
    since(13, "xid8", &["0", "18446744073709551615"]),
    sample("cid", &["0", "4294967295"]),
    sample("tid", &["(0,1)", "(4294967295,65535)"]),
    sample("pg_lsn", &["0/0", "FFFFFFFF/FFFFFFFF", "16/B374D848"]),
    sample("txid_snapshot", &["10:20:10,14,15"]),
    since(13, "pg_snapshot", &["10:20:10,14,15", "1:1:"]),
    sample("int2vector", &["", "1", "1 -2 3"]),
    sample("oidvector", &["", "1", "1 4294967295 3"]),
    sample("refcursor", &["a \"cursor\""]),
    sample("aclitem", &["postgres=arwd/postgres"]),
    sample("regclass", &["pg_class", "public.relation", "-"]),
    sample("regproc", &["now", "array_in"]),
    sample("regprocedure", &["abs(numeric)"]),
    sample("regoper", &["||/"]),
    sample("regoperator", &["+(integer,integer)", "-(NONE,integer)"]),
    sample("regtype", &["int4", "timestamp with time zone", "public.mood", "text[]"]),
    sample("regrole", &["postgres"]),
    sample("regnamespace", &["public", "pg_catalog"]),
    sample("regconfig", &["english"]),
    sample("regdictionary", &["simple"]),
    since(13, "regcollation", &["\"C\""]),
];

/// All that quoting, escaping and key encoding could stumble over.
const TEXTS: &[&str] = &[
    "",
    " ",
    "NULL",
    "null",
    "\\N",
    "\"",
    "'",
    "\\",
    "/",
    "%2F%",
    "{}",
    "()",
    "(,)",
    "{a,\"b\"}",
    "\"\"\\\"\\\\",
    "ä€𝄞",
    "\t\n\r\u{8}\u{b}\u{c}",
    "\u{1}\u{1f}\u{7f}\u{80}\u{2028}\u{feff}",
];

const TIMESTAMPS: &[&str] = &[
    "2024-02-29 12:34:56.789",
    "2000-01-01 00:00:00",
    "1999-12-31 23:59:59.999999",
    "0044-03-15 12:00:00 BC",
    "4713-01-01 00:00:00 BC",
    "10000-01-01 00:00:00",
    "294276-12-31 12:00:00",
    "infinity",
    "-infinity",
];

const JSON: &[&str] = &[
    " { \"b\" :\n1.10 ,\t\"a\": [ null , true,{\"\":\"\\u0001\\\"\\\\\\/\\u00e9é\"} ], \"b\" : 1E+2 } ",
    "{\"a\":1,\"a\":2}",
    "\"\\u0000\\ud800\"",
    "-0.0",
    "[]",
    "null",
];
