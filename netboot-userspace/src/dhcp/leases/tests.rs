//! The book of leases.

use super::*;

const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const NET: &[u16] = &[0];

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}

fn key(client: &[u8]) -> Key {
    Key { link: 0, client: client.to_vec() }
}

/// Addresses 10 to 13, but for those taken.
fn book(taken: &[Ipv4Addr]) -> Book {
    let mut book = Book::default();
    let pool = Pool { network: 0, ranges: vec![(ip(10), ip(13))] };
    book.set_pools(vec![pool], &taken.iter().copied().collect());
    book
}

fn offer(book: &mut Book, client: &[u8], requested: Option<Ipv4Addr>, now: u64) -> Option<Ipv4Addr> {
    book.offer(&key(client), MAC, NET, requested, now).map(|offer| offer.ip)
}

#[test]
fn rfc2131_12_the_current_then_the_previous_then_the_requested_address() {
    let mut book = book(&[]);
    assert_eq!(offer(&mut book, b"a", Some(ip(12)), 0), Some(ip(12)), "requested");
    book.bind(&key(b"a"), 100, "");
    assert_eq!(offer(&mut book, b"a", Some(ip(11)), 50), Some(ip(12)), "current");
    assert_eq!(offer(&mut book, b"a", Some(ip(11)), 500), Some(ip(12)), "previous");
    book.bind(&key(b"a"), 600, "");
    book.release(&key(b"a"), ip(12), 550);
    assert_eq!(offer(&mut book, b"a", None, 560), Some(ip(12)), "released");
}

#[test]
fn an_address_is_never_given_twice_and_a_full_pool_gives_none() {
    let mut book = book(&[]);
    let mut given: Vec<_> = (0..4_u8).map(|i| offer(&mut book, &[i, 0], None, 0).unwrap()).collect();
    given.sort_unstable();
    given.dedup();
    assert_eq!(given.len(), 4);
    assert_eq!(offer(&mut book, b"late", None, 0), None);
    assert!(offer(&mut book, b"late", None, OFFER + 1).is_some(), "offers that nobody took are free again");
}

#[test]
fn of_those_that_are_over_the_oldest_goes_first() {
    let mut book = book(&[]);
    for (i, until) in [(0_u8, 300), (1, 100), (2, 200), (3, 400)] {
        offer(&mut book, &[i, 0], Some(ip(10 + i)), 0).unwrap();
        book.bind(&key(&[i, 0]), until, "").unwrap();
    }
    assert_eq!(offer(&mut book, b"new", None, 99), None);
    assert_eq!(offer(&mut book, b"new", None, 250), Some(ip(11)));
}

#[test]
fn rfc2131_9_a_declined_address_is_held_out() {
    let mut book = book(&[]);
    let first = offer(&mut book, b"a", None, 0).unwrap();
    book.bind(&key(b"a"), 100, "");
    assert!(book.decline(Some(&key(b"b")), first, 1000).is_none(), "another's is not its to decline");
    book.decline(Some(&key(b"a")), first, 1000).unwrap();
    for client in [&b"a"[..], b"b", b"c"] {
        assert_ne!(offer(&mut book, client, Some(first), 10), Some(first));
    }
    assert_ne!(book.held(&key(b"a"), NET, 10), Some(first));
    assert_eq!(offer(&mut book, b"d", Some(first), 1001), Some(first), "the quarantine ends");
}

#[test]
fn clients_that_decline_everything_use_up_no_pool() {
    let mut book = Book::default();
    let pool = Pool { network: 0, ranges: vec![(ip(10), ip(17))] };
    book.set_pools(vec![pool.clone()], &HashSet::new());
    let mut declined = Vec::new();
    for i in 0..100_u8 {
        let now = u64::from(i);
        let given = offer(&mut book, &[i, 0], None, now).expect("there is always one");
        declined.push(given);
        book.decline(Some(&key(&[i, 0])), given, now + QUARANTINE).unwrap();
    }
    let kept = |book: &Book| -> Vec<_> {
        let kept = book.entries().filter(|(_, entry)| entry.state == State::Declined);
        kept.map(|(_, entry)| entry.ip).collect()
    };
    let mut last = declined.split_off(98);
    last.sort_unstable();
    assert_eq!(kept(&book), last, "a quarter of eight, and those that were declined last");
    // Our own probes are no hearsay.
    for i in 100..106_u8 {
        let given = offer(&mut book, &[i, 0], None, 100).unwrap();
        book.decline(None, given, 100 + QUARANTINE).unwrap();
    }
    assert_eq!((kept(&book).len(), offer(&mut book, b"late", None, 100)), (8, None));
    // A start finds the same: what a flood left in the store is bounded, too.
    let mut entries: Vec<_> = book.take_entries().collect();
    let mut restored = Book::default();
    restored.set_pools(vec![pool], &HashSet::new());
    entries.reverse();
    entries.into_iter().for_each(|(key, entry)| restored.restore(key, entry));
    assert_eq!(kept(&restored).len(), 2);
    assert!(offer(&mut restored, b"late", None, 200).is_some());
}

#[test]
fn rfc2131_6_an_offer_that_was_not_taken_is_freed() {
    let mut book = book(&[]);
    let first = offer(&mut book, b"a", None, 0).unwrap();
    book.withdraw(&key(b"a"));
    assert_eq!(book.held(&key(b"a"), NET, 1), None);
    assert_eq!(offer(&mut book, b"b", Some(first), 1), Some(first));
    book.bind(&key(b"b"), 100, "");
    book.withdraw(&key(b"b"));
    assert_eq!(book.held(&key(b"b"), NET, 2), Some(first), "a binding stays");
}

#[test]
fn addresses_of_the_inventory_are_not_leased() {
    let mut book = book(&[ip(10), ip(11), ip(12)]);
    assert_eq!(offer(&mut book, b"a", Some(ip(10)), 0), Some(ip(13)));
    assert_eq!(offer(&mut book, b"b", None, 0), None);
    // A reservation moves on: its old address is free, unless another one has it now.
    book.change_taken([ip(10), ip(11)].into_iter(), [ip(11), ip(13)].into_iter());
    assert_eq!(offer(&mut book, b"b", Some(ip(11)), 0), Some(ip(10)));
}

#[test]
fn a_lease_that_ran_out_is_its_clients_until_somebody_else_gets_it() {
    let mut book = book(&[]);
    let ip = offer(&mut book, b"a", None, 0).unwrap();
    assert_eq!(book.held(&key(b"a"), NET, 10), Some(ip));
    assert_eq!(book.held(&key(b"a"), NET, OFFER), None, "an offer ends");
    book.bind(&key(b"a"), 100, "");
    assert_eq!(book.held(&key(b"a"), NET, 100), Some(ip));
    assert_eq!(offer(&mut book, b"b", Some(ip), 100), Some(ip));
    assert_eq!(book.held(&key(b"a"), NET, 101), None);
}

#[test]
fn a_client_has_a_lease_on_each_link() {
    let mut book = Book::default();
    let pool = |network, last| Pool { network, ranges: vec![(ip(last), ip(last + 1))] };
    book.set_pools(vec![pool(0, 10), pool(1, 20)], &HashSet::new());
    let on = |link| Key { link, client: b"a".to_vec() };
    let first = book.offer(&on(0), MAC, &[0], None, 0).unwrap().ip;
    let second = book.offer(&on(1), MAC, &[1], None, 0).unwrap().ip;
    book.bind(&on(0), 100, "");
    book.bind(&on(1), 100, "");
    assert_ne!(first, second);
    assert_eq!(book.held(&on(0), &[0], 1), Some(first));
    assert_eq!(book.held(&on(1), &[1], 1), Some(second));
}

#[test]
fn what_was_bound_stays_so_when_its_client_moves_on_also_after_a_restart() {
    let mut before = book(&[]);
    let mut after = book(&[]);
    assert_eq!(offer(&mut before, b"a", Some(ip(12)), 0), Some(ip(12)));
    let old = before.bind(&key(b"a"), 1000, "").unwrap();
    // The pool shrinks, and the client gets another address; its first lease is not over.
    before.set_pools(vec![Pool { network: 0, ranges: vec![(ip(10), ip(11))] }], &HashSet::new());
    let new = offer(&mut before, b"a", None, 10).unwrap();
    let new = before.bind(&key(b"a"), 2000, "").filter(|entry| entry.ip == new).unwrap();
    for entry in [new.clone(), old.clone()] {
        after.restore(key(b"a"), entry);
    }
    for book in [&mut before, &mut after] {
        assert_eq!(book.of(&key(b"a")).map(|entry| entry.ip), Some(new.ip));
        assert_ne!(offer(book, b"b", Some(old.ip), 20), Some(old.ip));
    }
}

/// Bound in memory; the caller says what became of it on the disk.
fn bind(book: &mut Book, client: &[u8], until: u64) -> Entry {
    book.bind(&key(client), until, "").unwrap()
}

#[test]
fn a_binding_that_is_not_written_is_what_it_was_before() {
    let mut book = book(&[]);
    let ip = offer(&mut book, b"a", None, 0).unwrap();
    let first = bind(&mut book, b"a", 100);
    assert_eq!(book.of(&key(b"a")).unwrap().durable, 0, "nothing is promised yet");
    book.not_written(&key(b"a"), &first, 10);
    assert_eq!(
        book.of(&key(b"a")).map(|entry| (entry.state, entry.until)),
        Some((State::Offered, 10 + OFFER))
    );
    assert_ne!(offer(&mut book, b"b", Some(ip), 20), Some(ip), "kept for the client that asks again");
    let second = bind(&mut book, b"a", 200);
    assert!(book.written(&key(b"a"), &second));
    // A renewal that fails takes nothing from what is promised already.
    let third = bind(&mut book, b"a", 300);
    book.not_written(&key(b"a"), &third, 30);
    let entry = book.of(&key(b"a")).unwrap();
    assert_eq!((entry.state, entry.until, entry.durable), (State::Bound, 200, 200));
    // Two threads, one client: the one whose write succeeds is right, whatever becomes of the other's.
    let (fourth, fifth) = (bind(&mut book, b"a", 400), bind(&mut book, b"a", 401));
    book.not_written(&key(b"a"), &fourth, 40);
    assert!(book.written(&key(b"a"), &fifth));
    let entry = book.of(&key(b"a")).unwrap();
    assert_eq!((entry.state, entry.until, entry.durable), (State::Bound, 401, 401));
}

#[test]
fn what_became_another_clients_is_neither_overwritten_nor_acknowledged() {
    let mut book = book(&[]);
    let ip = offer(&mut book, b"a", None, 0).unwrap();
    let bound = bind(&mut book, b"a", 100);
    let released = book.release(&key(b"a"), ip, 1).unwrap();
    assert_eq!(book.to_write(&key(b"a"), &bound), Some(released.clone()), "as it is now");
    assert!(!book.written(&key(b"a"), &bound), "given back meanwhile");
    assert_eq!(offer(&mut book, b"b", Some(ip), 2), Some(ip));
    assert_eq!(book.to_write(&key(b"a"), &released), None);
    let other = bind(&mut book, b"b", 100);
    assert_eq!(book.to_write(&key(b"b"), &other), Some(other.clone()));
    assert!(book.written(&key(b"b"), &other));
    assert!(!book.written(&key(b"a"), &bound));
    book.not_written(&key(b"a"), &bound, 3);
    assert_eq!(book.at(ip).unwrap().1.durable, 100, "it is nobody else's to take back");
}

#[test]
fn an_offer_of_a_lease_that_is_over_is_kept_for_its_client() {
    let mut book = book(&[ip(11), ip(12), ip(13)]);
    offer(&mut book, b"a", None, 0).unwrap();
    bind(&mut book, b"a", 100);
    assert_eq!(offer(&mut book, b"a", None, 100), Some(ip(10)));
    assert_eq!(offer(&mut book, b"b", None, 101), None, "the only address is offered");
    assert_eq!(book.held(&key(b"a"), NET, 101), Some(ip(10)));
    let taken = book.offer(&key(b"b"), MAC, NET, None, 100 + OFFER).unwrap();
    assert_eq!((taken.ip, taken.displaced), (ip(10), Some(MAC)), "whose it was is told");
}

#[test]
fn who_declined_an_address_can_not_give_it_back_and_gets_it_probed_afterwards() {
    let mut book = book(&[ip(11), ip(12), ip(13)]);
    offer(&mut book, b"a", None, 0).unwrap();
    bind(&mut book, b"a", 100);
    book.decline(Some(&key(b"a")), ip(10), 1000).unwrap();
    assert_eq!(book.release(&key(b"a"), ip(10), 5), None);
    assert_eq!(offer(&mut book, b"b", None, 999), None);
    assert!(book.offer(&key(b"a"), MAC, NET, None, 1000).unwrap().fresh);
}

#[test]
fn a_lease_whose_address_is_reserved_is_not_renewed_and_ends() {
    let mut book = book(&[]);
    let own = offer(&mut book, b"a", None, 0).unwrap();
    let bound = bind(&mut book, b"a", 7200);
    book.written(&key(b"a"), &bound);
    book.change_taken(std::iter::empty(), [own].into_iter());
    assert_eq!(book.held(&key(b"a"), NET, 10), None);
    assert!(book.gave_away(&key(b"a"), 10));
    assert_eq!(book.end_by(own, 3610), Some(MAC));
    assert!(book.leased(own, 3609).is_some() && book.leased(own, 3610).is_none());
    assert_ne!(offer(&mut book, b"a", None, 20), Some(own), "it gets another one");
}

#[test]
fn a_lease_whose_address_is_reserved_and_in_no_pool_any_more_is_not_renewed() {
    let mut book = book(&[]);
    let own = offer(&mut book, b"a", Some(ip(13)), 0).unwrap();
    let bound = bind(&mut book, b"a", 7200);
    book.written(&key(b"a"), &bound);
    // The range shrinks, and the address is reserved, in one edit.
    book.set_pools(vec![Pool { network: 0, ranges: vec![(ip(10), ip(11))] }], &[own].into());
    assert_eq!(book.held(&key(b"a"), NET, 10), None);
    assert!(book.gave_away(&key(b"a"), 10));
}

#[test]
fn what_was_reserved_is_leased_to_nobody_while_it_may_be_in_use() {
    let mut book = book(&[ip(10), ip(11), ip(12)]);
    offer(&mut book, b"a", None, 0).unwrap();
    bind(&mut book, b"a", 5000);
    book.change_taken([ip(10)].into_iter(), std::iter::empty());
    assert!(book.hold(ip(10), MAC, 100, 3700).is_some());
    assert_eq!(book.hold(ip(13), MAC, 100, 3700), None, "leased");
    assert_eq!(book.hold(ip(99), MAC, 100, 3700), None, "in no pool");
    assert_eq!(offer(&mut book, b"b", Some(ip(10)), 3699), None);
    assert_eq!(offer(&mut book, b"b", None, 3700), Some(ip(10)));
}
