use super::*;

/// A folder that is this test's own, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("overlay-{name}-{}", std::process::id()));
        make_folder(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_key_is_made_once_for_its_owner_alone_and_is_one_processs_at_a_time() {
    let folder = Folder::new("key");
    let path = folder.0.join("deeper/identity.key");
    let made = private_key(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read(&path).unwrap().len(), 45, "44 characters and a line's end");
    assert!(matches!(private_key(&path), Err(StateError::InUse(_))));
    let octets = made.octets;
    drop(made);
    assert_eq!(private_key(&path).unwrap().octets, octets);
}

#[test]
fn a_damaged_key_is_never_replaced() {
    let folder = Folder::new("damaged-key");
    let path = folder.0.join("identity.key");
    for text in ["", "swordfish", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "\u{0}\u{1}"] {
        fs::write(&path, text).unwrap();
        assert!(matches!(private_key(&path), Err(StateError::NoKey(_))), "{text:?}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn what_was_stored_comes_back_and_what_was_emptied_does_not() {
    let folder = Folder::new("store");
    let writer = Writer::start().unwrap();
    writer.store(&folder.0, "ring", b"first".to_vec());
    writer.store(&folder.0, "ring", b"second".to_vec());
    writer.store(&folder.0, "locality", b"third".to_vec());
    drop(writer);
    assert_eq!(restored(&folder.0, "ring"), Some(b"second".to_vec()));
    assert_eq!(restored(&folder.0, "locality"), Some(b"third".to_vec()));
    let writer = Writer::start().unwrap();
    writer.store(&folder.0, "ring", Vec::new());
    drop(writer);
    assert_eq!((restored(&folder.0, "ring"), restored(&folder.0, "other")), (None, None));
    let names: Vec<_> = fs::read_dir(&folder.0).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["locality.store"], "nothing is left beside");
}

#[test]
fn whatever_octet_is_damaged_the_file_is_set_aside() {
    let folder = Folder::new("damaged-store");
    let path = file_of(&folder.0, "ring");
    let whole = wrap(b"kept");
    for place in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[place] ^= 1;
        fs::write(&path, &damaged).unwrap();
        assert_eq!(restored(&folder.0, "ring"), None, "octet {place}");
        assert!(!path.exists());
        assert_eq!(fs::read(path.with_extension("damaged")).unwrap(), damaged);
    }
    for len in 0..whole.len() {
        fs::write(&path, &whole[..len]).unwrap();
        assert_eq!(restored(&folder.0, "ring"), None, "{len} octets");
    }
}
