use std::time::Duration;

use crate::machine::{Ask, Client, Failure, News, REPETITIONS, Send, Step};

const PORT: u16 = 40_000;
const SECOND: Duration = Duration::from_secs(1);

/// A client that asked at 0 for blocks of 8 bytes, and what it is to get.
struct Fetch {
    ask: Ask,
    file: Vec<u8>,
    client: Client,
}

impl Fetch {
    fn new(window: u16, size: usize) -> Self {
        let ask = Ask { block_size: 8, window, patience: SECOND };
        let file = (0..size).map(|at| (at * 7 % 251) as u8).collect();
        Self { ask, file, client: Client::new(&ask, Duration::ZERO) }
    }

    /// The same, after an OACK with what it asked for.
    fn begun(window: u16, size: usize) -> Self {
        let mut fetch = Self::new(window, size);
        let window = if window > 1 { format!(" windowsize {window}") } else { String::new() };
        assert_eq!(fetch.hears(&oack(&format!("blksize 8{window}"))).send, Some(Send::Ack(0)));
        fetch
    }

    fn hears(&mut self, datagram: &[u8]) -> Step {
        self.hears_from(PORT, datagram)
    }

    fn hears_from(&mut self, port: u16, datagram: &[u8]) -> Step {
        self.client.datagram(&self.ask, &self.file, port, datagram, Duration::ZERO)
    }

    /// Hears a block as it should be; what it says, and whether it took it.
    fn gets(&mut self, block: u16) -> (Option<u16>, bool) {
        let at = (usize::from(block) - 1) * 8;
        let bytes = &self.file[at.min(self.file.len())..(at + 8).min(self.file.len())];
        let data = [&[0, 3], &block.to_be_bytes()[..], bytes].concat();
        let step = self.hears(&data);
        let ack = step.send.map(|send| match send {
            Send::Ack(block) => block,
            other => panic!("{other:?}"),
        });
        (ack, matches!(step.news, News::Block(_) | News::Done(_)))
    }
}

/// An OACK with these names and values.
fn oack(options: &str) -> Vec<u8> {
    let words = options.split(' ').flat_map(|word| [word.as_bytes(), &[0]].concat());
    [0, 6].into_iter().chain(words).collect()
}

#[test]
fn each_window_is_acknowledged_and_so_is_the_end() {
    let mut one = Fetch::begun(1, 20);
    assert_eq!([1, 2, 3].map(|block| one.gets(block)), [(Some(1), true), (Some(2), true), (Some(3), true)]);
    assert!(!one.client.is_under_way());
    let mut four = Fetch::begun(4, 40);
    let said = [1, 2, 3, 4, 5, 6].map(|block| four.gets(block).0);
    assert_eq!(said, [None, None, None, Some(4), None, Some(6)], "block 6 is the empty one behind the end");
    assert!(!four.client.is_under_way());
}

#[test]
fn a_gap_is_reported_once_and_what_is_behind_it_taken_when_it_comes_again() {
    let mut fetch = Fetch::begun(4, 100);
    let said = [1, 3, 4, 2, 3, 4, 5].map(|block| fetch.gets(block));
    let taken = |ack| (ack, true);
    let left = |ack| (ack, false);
    let want =
        [taken(None), left(Some(1)), left(None), taken(None), taken(None), taken(None), taken(Some(5))];
    assert_eq!(said, want);
}

#[test]
fn only_the_newest_block_is_acknowledged_again_and_only_if_it_was() {
    let mut fetch = Fetch::begun(2, 100);
    let said = [1, 1, 2, 1, 2, 3].map(|block| fetch.gets(block).0);
    assert_eq!(said, [None, None, Some(2), None, Some(2), None]);
    let mut done = Fetch::begun(1, 4);
    assert_eq!(done.gets(1), (Some(1), true));
    assert_eq!(done.gets(1), (Some(1), false), "its last ACK was lost");
}

#[test]
fn without_an_oack_blocks_are_of_512_bytes_and_windows_of_one() {
    let mut fetch = Fetch::new(4, 600);
    let data = |block: u8, bytes: &[u8]| [&[0, 3, 0, block], bytes].concat();
    let file = fetch.file.clone();
    let step = fetch.hears(&data(1, &file[..512]));
    assert_eq!(step, Step { send: Some(Send::Ack(1)), news: News::Block(512) });
    assert_eq!(fetch.client.granted(), (512, 1));
    let step = fetch.hears(&data(2, &file[512..]));
    assert_eq!(step, Step { send: Some(Send::Ack(2)), news: News::Done(88) });
}

#[test]
fn block_numbers_wrap_to_zero() {
    let mut fetch = Fetch::begun(1, 8 * 65_537);
    let file = fetch.file.clone();
    for (at, bytes) in file.chunks(8).enumerate() {
        let block = (at + 1) as u16;
        let step = fetch.hears(&[&[0, 3], &block.to_be_bytes()[..], bytes].concat());
        assert_eq!(step.send, Some(Send::Ack(block)));
    }
    assert!(fetch.client.is_under_way());
    assert_eq!(fetch.hears(&[0, 3, 0, 2]).news, News::Done(0));
}

#[test]
fn other_bytes_than_the_files_end_the_transfer() {
    let end = [&[0, 3, 0, 2][..], &[0; 4]].concat();
    let cases: [(&str, Vec<u8>); 4] = [
        ("a wrong byte", vec![0, 3, 0, 1, 9, 9, 9, 9, 9, 9, 9, 9]),
        ("too short a block", vec![0, 3, 0, 1, 0, 7]),
        ("a block too long", [&[0, 3, 0, 1][..], &(0..9).map(|at| at * 7).collect::<Vec<u8>>()].concat()),
        ("an end too early", vec![0, 3, 0, 1]),
    ];
    for (what, datagram) in cases {
        let mut fetch = Fetch::begun(1, 20);
        assert_eq!(fetch.hears(&datagram).news, News::Failed(Failure::Content), "{what}");
        assert!(!fetch.client.is_under_way());
        assert_eq!(fetch.hears(&end), Step::default());
    }
}

#[test]
fn options_that_were_not_asked_for_end_the_transfer_with_error_8() {
    for (window, options) in [
        (1, "blksize 9"),
        (1, "blksize 7"),
        (1, "windowsize 4"),
        (4, "windowsize 5"),
        (4, "windowsize 0"),
        (1, "tsize 21"),
        (1, "timeout 3"),
        (1, "blksize x"),
        (1, "blksize"),
    ] {
        let step = Fetch::new(window, 20).hears(&oack(options));
        let want = Step { send: Some(Send::Error(8)), news: News::Failed(Failure::Options) };
        assert_eq!(step, want, "{options:?}");
    }
    let cut = oack("blksize 8");
    assert_eq!(Fetch::new(1, 20).hears(&cut[..cut.len() - 1]).news, News::Failed(Failure::Options));
    for options in ["tsize 20", "BLKSIZE 8 windowsize 2", "windowsize 4 tsize 20 blksize 8"] {
        assert_eq!(Fetch::new(4, 20).hears(&oack(options)).send, Some(Send::Ack(0)), "{options:?}");
    }
}

#[test]
fn strangers_are_told_so_and_the_transfer_goes_on() {
    let mut fetch = Fetch::begun(1, 20);
    let step = fetch.hears_from(PORT + 1, &oack("blksize 8"));
    assert_eq!(step, Step { send: Some(Send::Error(5)), news: News::Stranger });
    assert_eq!(fetch.gets(1), (Some(1), true));
}

#[test]
fn what_is_not_for_a_client_and_errors_end_the_transfer() {
    for (datagram, failure) in [
        (&b"\0\x04\0\x01"[..], Failure::Malformed),
        (&b"\0\x03\0"[..], Failure::Malformed),
        (&b""[..], Failure::Malformed),
        (&b"\0\x05\0\x01no such file\0"[..], Failure::Refused(1)),
    ] {
        let mut fetch = Fetch::begun(1, 20);
        let step = fetch.hears(datagram);
        assert_eq!(step.news, News::Failed(failure), "{datagram:?}");
        assert_eq!(step.send.is_none(), matches!(failure, Failure::Refused(_)), "an ERROR has no answer");
    }
}

#[test]
fn silence_is_answered_by_repetitions_that_become_rare_and_then_by_the_end() {
    let mut fetch = Fetch::new(1, 20);
    let mut now = Duration::ZERO;
    for wait in [1, 2, 4] {
        assert_eq!(fetch.client.timer(&fetch.ask, now), Step::default(), "not before its time");
        assert_eq!(fetch.client.deadline() - now, SECOND * wait);
        now = fetch.client.deadline();
        let step = fetch.client.timer(&fetch.ask, now);
        assert_eq!(step, Step { send: Some(Send::Request), news: News::Repeated });
    }
    assert_eq!(REPETITIONS, 3);
    let step = fetch.client.timer(&fetch.ask, fetch.client.deadline());
    assert_eq!(step, Step { send: None, news: News::Failed(Failure::Silence) });
}

#[test]
fn a_window_that_does_not_fill_is_acknowledged_in_time() {
    let mut fetch = Fetch::begun(4, 100);
    assert_eq!([1, 2].map(|block| fetch.gets(block).0), [None, None]);
    let step = fetch.client.timer(&fetch.ask, SECOND);
    assert_eq!(step, Step { send: Some(Send::Ack(2)), news: News::Repeated });
    let said = [3, 4, 5, 6].map(|block| fetch.gets(block).0);
    assert_eq!(said, [None, None, None, Some(6)], "its server goes on behind what was acknowledged");
}
