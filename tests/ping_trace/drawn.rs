//! What `xcast trace --json` says, in words that do not depend on numbers of nodes.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::lab::process::Ended;

/// A link: from whom, to whom, in which form, for whom.
pub(crate) type Link = (String, String, String, Vec<String>);

/// Nodes by what they are, and the links between them.
#[derive(Debug)]
pub(crate) struct Drawn {
    pub(crate) nodes: BTreeMap<String, Value>,
    pub(crate) links: Vec<Link>,
}

impl Drawn {
    /// Reads the whole object and holds it to its schema.
    pub(crate) fn new(ended: &Ended) -> Drawn {
        let value = crate::json(ended);
        let mut names = BTreeMap::new();
        let mut nodes = BTreeMap::new();
        for node in value["nodes"].as_array().unwrap() {
            let name = name(node);
            let id = node["id"].as_str().unwrap().to_owned();
            assert_eq!(names.insert(id, name.clone()), None, "{node}");
            for list in ["addresses", "destinations", "delivered"] {
                texts(&node[list]);
            }
            assert!(node["depth"].is_u64(), "{node}");
            assert!(nodes.insert(name, node.clone()).is_none(), "two nodes alike: {node}");
        }
        let links = value["links"].as_array().unwrap().iter().map(|link| {
            let end = |key: &str| names[link[key].as_str().unwrap()].clone();
            let form = link["form"].as_str().unwrap();
            assert!(["xcast", "unicast"].contains(&form), "{link}");
            (end("from"), end("to"), form.to_owned(), texts(&link["destinations"]))
        });
        Drawn { links: links.collect(), nodes }
    }

    /// The links are these, in any order: from, to, form, destinations.
    pub(crate) fn assert_links(&self, expected: &[(&str, &str, &str, &[&str])]) {
        let mut found = self.links.clone();
        let mut expected: Vec<Link> = expected
            .iter()
            .map(|(from, to, form, of)| {
                let of = of.iter().map(|text| (*text).to_owned()).collect();
                ((*from).to_owned(), (*to).to_owned(), (*form).to_owned(), of)
            })
            .collect();
        found.sort();
        expected.sort();
        assert!(found == expected, "found {found:#?}\nexpected {expected:#?}");
    }
}

/// Routers by name, all others by kind and address; what was dropped by its reason.
fn name(node: &Value) -> String {
    let kind = node["kind"].as_str().unwrap();
    let first = node["addresses"].get(0).and_then(Value::as_str).unwrap_or("");
    match kind {
        "source" => kind.to_owned(),
        "router" => node["name"].as_str().unwrap().to_owned(),
        "ip" | "silent" => format!("{kind} {first}").trim().to_owned(),
        "destination" => first.to_owned(),
        "drop" => format!("drop {}", node["reason"].as_str().unwrap()),
        other => panic!("no kind of node: {other}"),
    }
}

pub(crate) fn texts(list: &Value) -> Vec<String> {
    let each = list.as_array().unwrap().iter();
    each.map(|text| text.as_str().unwrap().to_owned()).collect()
}
