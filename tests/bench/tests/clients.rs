use crate::clients::*;

#[test]
fn each_client_is_known_by_its_end() {
    for client in [0, 1, 255, 256, 65_536 - 1, 65_536, MOST - 1] {
        assert_eq!(number(end(client)), Some(client));
    }
    assert_eq!(number("10.64.0.1:2070".parse().expect("an address")), None);
    assert_eq!(number("10.66.0.0:2070".parse().expect("an address")), None);
    assert_eq!(number("10.65.0.0:69".parse().expect("an address")), None);
}
