//! What is said about configurations that are wrong: the exact lines, in order.

const EXPERIMENT: &str = r#"
[experiment]
ip-protocol = 253
all-routers-v4 = "224.0.0.254"
all-routers-v6 = "ff02::114"
routing-type = 253
ports-option = 0x5e
hop-by-hop-option = 0x1e
tunnel-port = 1021
"#;

/// The rendered errors of a text, warnings left out.
fn errors(text: &str) -> Vec<String> {
    let found = match router_config::parse(text) {
        Ok((config, _)) => panic!("accepted: {config:?}"),
        Err(found) => found,
    };
    let lines = found.iter().map(|diagnostic| diagnostic.render("r.toml", text));
    lines.filter(|line| !line.contains(": warning: ")).collect()
}

/// The messages of a text after a sound `[experiment]` and `[router]`, without positions.
fn messages(text: &str) -> Vec<String> {
    let text = format!("{text}\n{EXPERIMENT}\n[router]\nname = \"r1\"\n");
    errors(&text)
        .iter()
        .map(|line| line.split_once(": error: ").expect("every line is an error").1.to_owned())
        .collect()
}

#[test]
fn all_errors_come_at_once_by_position() {
    let text = r#"[experiment]
ip-protocol = 17
all-routers-v4 = "10.0.0.1"
all-routers-v6 = "ff02::114"
routing-type = 253
ports-option = 0x1e
tunnel-port = 70000

[router]
name = "r 1"
workers = "two"
colour = "é" # é

[ports]
driver = "kernel"
revers-path = "off"

[[port]]
interface = "eth1"

[[port]]
interface = "eth1"
reverse-path = "strickt"

[[neighbour]]
address = "10.0.0.1"

[[route]]
prefix = "10.0.4.1/24"
via = "10.0.0.1"

[[route]]
prefix = "10.0.5.0/24"
via = "2001:db8::1"
drop = true
"#;
    assert_eq!(
        errors(text),
        [
            "r.toml:1:1: error: missing key `hop-by-hop-option` in `[experiment]`: it is never \
             defaulted, RFC 4727 has 0x1e for experiments",
            "r.toml:2:15: error: `ip-protocol` cannot be 17: that is UDP",
            "r.toml:3:18: error: `all-routers-v4` must be an IPv4 multicast address, found \
             `10.0.0.1`",
            "r.toml:6:16: error: `ports-option` must be 0x40 to 0x5f, found 0x1e: RFC 5058 asks \
             for the high bits 010",
            "r.toml:7:15: error: `tunnel-port` must be between 1 and 65535, found `70000`",
            "r.toml:10:8: error: `name` must be 1 to 64 letters, digits, `.`, `_` or `-`, found \
             `r 1`",
            "r.toml:11:11: error: `workers` must be an integer, found a string",
            "r.toml:12:1: error: unknown key `colour`, the nearest known is `workers`",
            "r.toml:15:10: error: `driver` cannot be \"kernel\": that driver is reserved and not \
             built",
            "r.toml:16:1: error: unknown key `revers-path`, did you mean `reverse-path`?",
            "r.toml:22:13: error: duplicate `[[port]]` interface `eth1`",
            "r.toml:23:16: error: `reverse-path` must be \"strict\", \"loose\" or \"off\", found \
             `strickt`, did you mean `strict`?",
            "r.toml:25:3: error: unknown table `[[neighbour]]`, did you mean `[[neighbor]]`?",
            "r.toml:29:10: error: `prefix` has host bits set: `10.0.4.1/24` should be \
             `10.0.4.0/24`",
            "r.toml:34:7: error: `via` must be an IPv4 address like the prefix, found \
             `2001:db8::1`",
            "r.toml:35:8: error: a `[[route]]` leads to one place, not to `via` and `drop`",
        ]
    );
}

#[test]
fn syntax_errors_stand_beside_what_can_still_be_judged() {
    let text = r#"[experiment]
ip-protocol = 253
[router]
name = r1
workers = 65
metrics = "127.0.0.1
fib = "poptree"
[[port]
interface = "eth 1"
"#;
    assert_eq!(
        errors(text),
        [
            "r.toml:4:8: error: string values must be quoted, expected literal string",
            "r.toml:5:11: error: `workers` must be between 1 and 64, found `65`",
            "r.toml:6:21: error: invalid basic string, expected `\"`",
            "r.toml:7:7: error: `fib` must be \"poptrie\" or \"dir24\", found `poptree`, did you \
             mean `poptrie`?",
            "r.toml:8:8: error: unclosed array table, expected `]`",
        ],
        "nothing is said to be missing, nor anything about keys after a broken header"
    );
}

#[test]
fn an_empty_text_lacks_two_tables() {
    assert_eq!(
        errors(""),
        [
            "r.toml:1:1: error: missing table `[experiment]`: it is never defaulted; with what RFC \
             4727 has for experiments, its keys are `ip-protocol` (253 and 254), `all-routers-v4` \
             (224.0.0.254), `all-routers-v6` (ff02::114), `routing-type` (253 and 254), \
             `ports-option` (0x5e), `hop-by-hop-option` (0x1e), `tunnel-port` (1021 and 1022)",
            "r.toml:1:1: error: missing table `[router]`: it has the key `name`",
        ]
    );
}

#[test]
fn tables_of_the_wrong_shape_are_shown_the_right_one() {
    assert_eq!(
        messages("limits = 3\n[port]\ninterface = \"eth0\"\n[[ports]]\n[ruter]\n"),
        [
            "`limits` must be a table, written `[limits]`, found an integer",
            "`port` must be an array of tables, each written `[[port]]`, found a table",
            "`ports` must be a table, written `[ports]`, found an array",
            "unknown table `[ruter]`, did you mean `[router]`?",
        ]
    );
}

#[test]
fn kernel_tables_end_with_the_main_one() {
    let tables = |list: &str| {
        let text = format!("[routes]\nkernel-tables = {list}\n{EXPERIMENT}\n[router]\nname='r1'");
        router_config::parse(&text).map(|(config, _)| config.kernel_tables)
    };
    assert_eq!(tables("[]"), Ok(vec![254]));
    assert_eq!(tables("[100, 7]"), Ok(vec![100, 7, 254]));
    assert_eq!(tables("[4294967295, 254]"), Ok(vec![4_294_967_295, 254]));
    assert_eq!(
        messages("routes.kernel-tables = [254, 0, 100, 100, 4294967296, '1']"),
        [
            "kernel table 254 is always last: list it last or not",
            "`kernel-tables` must be between 1 and 4294967295, found `0`",
            "duplicate kernel table `100`",
            "`kernel-tables` must be between 1 and 4294967295, found `4294967296`",
            "`kernel-tables` must be an array of integers, found a string",
        ]
    );
}

#[test]
fn routes_lead_to_one_known_place() {
    let text = r#"
[[tunnel]]
name = "x3"
kind = "udp"
local = "192.0.2.1"
remote = "192.0.2.3"
insecure = true
[[route]]
prefix = "10.0.0.0/24"
[[route]]
prefix = "10.0.0.0/24"
drop = false
[[route]]
prefix = "10.0.0.0/33"
tunnel = "x4"
[[route]]
prefix = "::/-1"
via = "ff02::1"
[[route]]
interface = "a/b"
"#;
    assert_eq!(
        messages(text),
        [
            "a `[[route]]` needs one of `via`, `interface`, `tunnel` and `drop`",
            "duplicate `[[route]]` prefix `10.0.0.0/24`",
            "`drop` must be true: leave it out otherwise",
            "`prefix` has a prefix longer than 32 bits: `10.0.0.0/33`",
            "no `[[tunnel]]` is named `x4`, did you mean `x3`?",
            "`prefix` must be a prefix, `ADDRESS/LENGTH`, found `::/-1`",
            "`via` must be a unicast address, found `ff02::1`",
            "missing key `prefix` in `[[route]]`",
            "`interface` must be an interface name: 1 to 15 bytes without `/`, `:` or blanks, \
             found `a/b`",
        ]
    );
}

#[test]
fn tunnels_have_what_their_kind_needs() {
    let text = r#"
[[tunnel]]
name = "a"
kind = "ipip"
local = "192.0.2.1"
insecure = true
[[tunnel]]
name = "a"
kind = "udp"
local = "192.0.2.1"
remote = "2001:db8::1"
interface = "xt0"
[[tunnel]]
name = "b"
kind = "udp"
local = "192.0.2.1"
remote = "192.0.2.1"
interface = "xt0"
insecure = true
peer-key = "AAAA"
[[tunnel]]
name = "c"
kind = "semi-permeable"
local = "192.0.2.1"
[[tunnel]]
name = "d"
kind = "gre"
peer-key = "not base64"
"#;
    assert_eq!(
        messages(text),
        [
            "missing key `remote` in `[[tunnel]]`",
            "`insecure` is for tunnels of kind \"udp\" only",
            "a tunnel of kind \"udp\" needs `private-key-file` and `peer-key`, or `insecure = true`",
            "duplicate `[[tunnel]]` name `a`",
            "`remote` must be of the same IP version as `local`",
            "`remote` must differ from `local`",
            "duplicate `[[tunnel]]` interface `xt0`",
            "`peer-key` contradicts `insecure = true`",
            "`local` must be an IPv6 address: the kind is IPv6 only",
            "`kind` must be \"ipip\", \"udp\", \"semi-permeable\", \"anycast\" or \"hosts\", found `gre`",
            "`peer-key` must be a public key in base64",
        ]
    );
}

#[test]
fn values_are_held_to_what_they_mean() {
    let text = r#"
[[neighbor]]
address = "10.0.0.1"
xcast = true
[[neighbor]]
address = "10.0.0.1"
xcast = "maybe"
[[port]]
interface = "a-name-too-long0"
[backbone]
seeds = ["relay1.example", "h:0", "[::1:1021"]
[limits]
destinations-per-second = -1
sources = "10.0.0.0/8"
destinations = [10]
icmp-errors-per-second = 99999999999999999999999999999999999999999
"#;
    assert_eq!(
        messages(text),
        [
            "`xcast` must be \"yes\" or \"no\", found a boolean",
            "duplicate `[[neighbor]]` address `10.0.0.1`",
            "`xcast` must be \"yes\" or \"no\", found `maybe`",
            "`interface` must be an interface name: 1 to 15 bytes without `/`, `:` or blanks, \
             found `a-name-too-long0`",
            "missing key `private-key-file` in `[backbone]`",
            "`seeds` must be `HOST:PORT`, found `relay1.example`",
            "`seeds` must be `HOST:PORT`, found `h:0`",
            "`seeds` must be `HOST:PORT`, found `[::1:1021`",
            "`destinations-per-second` must be between 0 and 4294967295, found `-1`",
            "`sources` must be an array of strings, found a string",
            "`destinations` must be an array of strings, found an integer",
            "`icmp-errors-per-second` must be between 0 and 4294967295, found \
             `99999999999999999999999999999999999999999`",
        ]
    );
}

#[test]
fn the_router_itself_is_checked() {
    let long = "a".repeat(108);
    let text = format!(
        "{EXPERIMENT}[router]\nname = ''\ncontrol-socket = '{long}'\nmetrics = 'here'\n\
         anycast-addresses = ['224.0.0.1', 'x']\nsandbox = 'yes'\n"
    );
    assert_eq!(
        errors(&text),
        [
            "r.toml:11:8: error: `name` must be 1 to 64 letters, digits, `.`, `_` or `-`, found ``",
            "r.toml:12:18: error: `control-socket` must be at most 107 bytes, as the kernel has \
             it, found 108",
            "r.toml:13:11: error: `metrics` must be `ADDR:PORT` or `unix:PATH`, found `here`",
            "r.toml:14:22: error: `anycast-addresses` must be a unicast address, found `224.0.0.1`",
            "r.toml:14:35: error: `anycast-addresses` must be an IPv4 or IPv6 address, found `x`",
            "r.toml:15:11: error: `sandbox` must be true or false, found a string",
        ]
    );
}

#[test]
fn service_addresses_need_a_list_of_sources() {
    let router = "[router]\nname = 'r1'\nanycast-addresses = ['192.0.2.53']\n";
    let complaint = "r.toml:12:21: error: `anycast-addresses` in `[router]` needs `sources` in \
                     `[limits]`: packets to them are taken from listed sources alone";
    assert_eq!(errors(&format!("{EXPERIMENT}{router}")), [complaint]);
    assert_eq!(errors(&format!("{EXPERIMENT}{router}[limits]\nsources = []\n")), [complaint]);
    let listed = format!("{EXPERIMENT}{router}[limits]\nsources = ['10.0.0.0/8']\n");
    assert!(router_config::parse(&listed).is_ok());
}

#[test]
fn code_points_of_others_are_refused() {
    let with = |key: &str, value: u8| {
        let lines = EXPERIMENT.lines().map(|line| match line.split_once(" = ") {
            Some((name, _)) if name == key => format!("{name} = {value}"),
            _ => line.to_owned(),
        });
        router_config::parse_experiment(&lines.collect::<Vec<_>>().join("\n"))
    };
    let refused =
        |key: &str| -> Vec<u8> { (0..=255).filter(|value| with(key, *value).is_err()).collect() };
    assert_eq!(refused("ip-protocol"), [0, 1, 2, 4, 6, 17, 41, 43, 44, 50, 51, 58, 60, 132]);
    assert_eq!(refused("routing-type"), [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(refused("tunnel-port"), [0]);
    assert_eq!(refused("ports-option").len(), 256 - 32);
    assert_eq!(refused("hop-by-hop-option").len(), 256 - 32 + 6);
}

#[test]
fn the_experiment_alone_is_read_from_any_file_that_has_it() {
    let text = format!("{EXPERIMENT}\n[nonsense]\nworkers = 'many'\n[router]\nworkers = 'many'\n");
    assert_eq!(router_config::parse_experiment(&text).unwrap().tunnel_port, 1021);
    let mistyped = text.replace("tunnel-port", "tunel-port");
    let found = router_config::parse_experiment(&mistyped).unwrap_err();
    let lines: Vec<_> = found.iter().map(|found| found.render("e.toml", &mistyped)).collect();
    assert_eq!(
        lines,
        [
            "e.toml:2:1: error: missing key `tunnel-port` in `[experiment]`: it is never \
             defaulted, RFC 4727 has 1021 and 1022 for experiments",
            "e.toml:9:1: error: unknown key `tunel-port`, did you mean `tunnel-port`?",
        ]
    );
}

#[test]
fn what_is_not_in_effect_is_warned_of_only_where_it_is_written() {
    let warnings = |text: &str| -> Vec<String> {
        let text = format!("{text}\n{EXPERIMENT}");
        let (_, warnings) = router_config::parse(&text).expect("it is only not in effect");
        let lines = warnings.iter().map(|warning| warning.render("r.toml", &text));
        lines
            .map(|line| line.replace(" is accepted but not in effect in this release", ""))
            .collect()
    };
    let nothing = "[router]\nname = 'r1'\nworkers = 2\nfib = 'poptrie'\nsandbox = false\n\
                   compact = false\n[[port]]\ninterface = 'eth0'\ndriver = 'packet'\n[limits]\n\
                   destinations-per-second = 9\nsources = ['10.0.0.0/8']\nallow-icmp-echo = true";
    assert_eq!(warnings(nothing), [""; 0]);
    let everything = "[router]\nname = 'r1'\nmetrics = 'unix:/run/m'\nworkers = 2\nfib = 'dir24'\n\
                      compact = true\n[ports]\ndriver = 'xdp'\n[[port]]\ninterface = 'eth0'\n\
                      [[port]]\ninterface = 'eth1'\ndriver = 'xdp'\nxcast-neighbors = 'probe'\n\
                      [semi-permeable]\naccept = ['::/0']\n";
    assert_eq!(warnings(everything), ["r.toml:3:11: warning: `metrics`: no metrics are served"]);
}

#[test]
fn a_key_without_a_value_hides_nothing_after_it() {
    let text = "key\n[router]\nname = \"a\"\nworkers 3\nfib = 1\nmetrics\nsandbox = maybe\n";
    assert_eq!(
        errors(text),
        [
            "r.toml:1:4: error: key with no value, expected `=`",
            "r.toml:4:9: error: key with no value, expected `=`",
            "r.toml:5:7: error: `fib` must be \"poptrie\" or \"dir24\", found an integer",
            "r.toml:6:8: error: key with no value, expected `=`",
            "r.toml:7:11: error: string values must be quoted, expected literal string",
        ]
    );
}
