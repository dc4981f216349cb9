use proptest::prelude::*;

use super::*;

const QUESTION: Question = Question {
    transaction: 0x3903_f326,
    address: Ipv4Addr::new(192, 0, 2, 57),
    hardware: [0x02, 0x00, 0x5e, 0x10, 0x00, 0x01],
    option: 224,
};

/// An answer with these options, by hand from RFC 2131 figure 1.
fn answer(options: &[u8]) -> Vec<u8> {
    let mut octets = vec![2, 1, 6, 0, 0x39, 0x03, 0xf3, 0x26, 0, 0, 0, 0, 192, 0, 2, 57];
    octets.extend([0; 12]); // yiaddr, siaddr, giaddr
    octets.extend([0x02, 0x00, 0x5e, 0x10, 0x00, 0x01, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    octets.extend([0; 64 + 128]); // sname, file
    octets.extend([99, 130, 83, 99]);
    octets.extend(options);
    octets
}

fn places_of(text: &[&str]) -> Vec<SocketAddr> {
    text.iter().map(|place| place.parse().unwrap()).collect()
}

#[test]
fn a_question_has_the_octets_of_rfc_2131() {
    let octets = emit(&QUESTION);
    let mut expected = vec![1, 1, 6, 0, 0x39, 0x03, 0xf3, 0x26, 0, 0, 0, 0, 192, 0, 2, 57];
    expected.extend([0; 12]);
    expected.extend([0x02, 0x00, 0x5e, 0x10, 0x00, 0x01, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend([0; 192]);
    expected.extend([99, 130, 83, 99]);
    // DHCP Message Type: INFORM; Maximum DHCP Message Size: 1400; Parameter Request List; End.
    expected.extend([53, 1, 8, 57, 2, 0x05, 0x78, 55, 1, 224, 255]);
    expected.resize(300, 0);
    assert_eq!(octets, expected);
}

#[test]
fn a_list_is_read_in_its_order() {
    let list = [53, 1, 5, 54, 4, 192, 0, 2, 1, 224, 12, 192, 0, 2, 1, 0x23, 0x28, 198, 51, 100, 7];
    let octets = answer(&[&list[..], &[0x00, 0x50, 255, 0, 0]].concat());
    let expected = places_of(&["192.0.2.1:9000", "198.51.100.7:80"]);
    assert_eq!(parse(&octets, &QUESTION), Ok(expected));
}

#[test]
fn a_list_may_come_in_pieces_that_are_cut_anywhere() {
    let octets =
        answer(&[53, 1, 5, 0, 224, 2, 192, 0, 0, 224, 4, 2, 1, 0x23, 0x28, 12, 1, 120, 255, 77]);
    assert_eq!(parse(&octets, &QUESTION), Ok(places_of(&["192.0.2.1:9000"])));
}

#[test]
fn a_list_may_stand_in_the_fields_of_file_and_server_name() {
    let mut octets = answer(&[53, 1, 5, 52, 1, 3, 224, 2, 192, 0, 255]);
    octets[108..113].copy_from_slice(&[224, 2, 2, 1, 255]);
    octets[44..49].copy_from_slice(&[224, 2, 0x23, 0x28, 255]);
    assert_eq!(parse(&octets, &QUESTION), Ok(places_of(&["192.0.2.1:9000"])));
    // Unless the answer says that they do.
    octets[HEADER_LEN + 5] = 1;
    assert_eq!(parse(&octets, &QUESTION), Err(BadAnswer::BadList(224)));
}

#[test]
fn answers_to_others_are_not_ours() {
    let good = answer(&[53, 1, 5, 224, 6, 192, 0, 2, 1, 0x23, 0x28, 255]);
    assert!(parse(&good, &QUESTION).is_ok());
    for (place, what) in [(0, "operation"), (7, "transaction"), (33, "hardware address")] {
        let mut other = good.clone();
        other[place] ^= 3;
        assert_eq!(parse(&other, &QUESTION), Err(BadAnswer::NotOurs), "{what}");
    }
    let offer = answer(&[53, 1, 2, 224, 6, 192, 0, 2, 1, 0x23, 0x28, 255]);
    assert_eq!(parse(&offer, &QUESTION), Err(BadAnswer::NotOurs));
    let untyped = answer(&[224, 6, 192, 0, 2, 1, 0x23, 0x28, 255]);
    assert_eq!(parse(&untyped, &QUESTION), Err(BadAnswer::NotOurs));
}

#[test]
fn what_is_no_list_is_refused_whole() {
    let with = |value: &[u8]| {
        let mut options = vec![53, 1, 5, 224, value.len() as u8];
        options.extend(value);
        options.push(255);
        parse(&answer(&options), &QUESTION)
    };
    assert_eq!(with(&[192, 0, 2, 1, 0x23, 0x28]), Ok(places_of(&["192.0.2.1:9000"])));
    let bad: [&[u8]; 6] = [
        &[],
        &[192, 0, 2, 1, 0x23],
        &[192, 0, 2, 1, 0, 0],
        &[224, 0, 0, 1, 0x23, 0x28],
        &[0, 0, 0, 0, 0x23, 0x28],
        &[192, 0, 2, 1, 0x23, 0x28, 255, 255, 255, 255, 0x23, 0x28],
    ];
    for value in bad {
        assert_eq!(with(value), Err(BadAnswer::BadList(224)), "{value:?}");
    }
    assert_eq!(parse(&answer(&[53, 1, 5, 255]), &QUESTION), Err(BadAnswer::NoList(224)));
}

#[test]
fn what_ends_too_early_is_malformed_wherever_it_ends() {
    let whole = answer(&[53, 1, 5, 224, 6, 192, 0, 2, 1, 0x23, 0x28]);
    for len in 0..whole.len() {
        let refused = parse(&whole[..len], &QUESTION).unwrap_err();
        let between = len == HEADER_LEN || len == HEADER_LEN + 3;
        assert_eq!(refused == BadAnswer::Malformed, !between, "{len} octets: {refused:?}");
    }
    let mut foreign = whole.clone();
    foreign[236] = 0;
    assert_eq!(parse(&foreign, &QUESTION), Err(BadAnswer::Malformed));
}

proptest! {
    #[test]
    fn no_answer_is_a_panic(options in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(places) = parse(&answer(&options), &QUESTION) {
            prop_assert!(!places.is_empty() && places.len() <= PLACES_MAX);
        }
    }
}
