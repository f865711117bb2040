//! Frames by the million: sound requests of every kind, and each of them damaged. Deterministic, from a seed.

use netboot_common::wire::{dhcp, udp};

use crate::site::{self, OUR_MAC, RELAY, VLANS, address, mac, our_address};

/// xorshift64*: small, fast, and the same on every machine.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.max(1))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 11) % n
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}

/// A request that is being put together.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) vlan: [u16; 2],
    pub(crate) destination_mac: [u8; 6],
    pub(crate) source_mac: [u8; 6],
    pub(crate) source: [u8; 4],
    pub(crate) destination: [u8; 4],
    pub(crate) ports: [u16; 2],
    pub(crate) fixed: [u8; dhcp::FIXED],
    pub(crate) options: Vec<u8>,
    /// Zeros behind END.
    pub(crate) padding: usize,
}

impl Draft {
    /// A broadcast message of a type, from host `number`.
    pub(crate) fn new(message_type: u8, number: u8, vlan: [u16; 2]) -> Self {
        let mut fixed = [0; dhcp::FIXED];
        fixed[..4].copy_from_slice(&[1, 1, 6, 0]);
        fixed[4..8].copy_from_slice(&[0xde, 0xad, 0xbe, number]);
        fixed[28..34].copy_from_slice(&mac(number));
        fixed[236..].copy_from_slice(&dhcp::COOKIE);
        Self {
            vlan,
            destination_mac: [0xff; 6],
            source_mac: mac(number),
            source: [0; 4],
            destination: [255; 4],
            ports: [udp::DHCP_CLIENT, udp::DHCP_SERVER],
            fixed,
            options: vec![53, 1, message_type],
            padding: 0,
        }
    }

    pub(crate) fn option(mut self, code: u8, value: &[u8]) -> Self {
        self.options.extend_from_slice(&[code, value.len() as u8]);
        self.options.extend_from_slice(value);
        self
    }

    pub(crate) fn field<const N: usize>(mut self, at: usize, value: [u8; N]) -> Self {
        self.fixed[at..at + N].copy_from_slice(&value);
        self
    }

    /// Through a relay agent on [`RELAY`]'s network.
    pub(crate) fn relayed(mut self) -> Self {
        self.fixed[24..28].copy_from_slice(&RELAY);
        self.fixed[3] = 1;
        self.source_mac = [2, 0, 0, 0, 0, 99];
        self.source = RELAY;
        self.destination = our_address(self.vlan);
        self.destination_mac = OUR_MAC;
        self.ports = [udp::DHCP_SERVER, udp::DHCP_SERVER];
        self
    }

    /// Unicast, from an address in use.
    pub(crate) fn unicast(mut self, from: [u8; 4], port: u16) -> Self {
        self.source = from;
        self.destination = our_address(self.vlan);
        self.destination_mac = OUR_MAC;
        self.ports[1] = port;
        self
    }

    pub(crate) fn frame(&self) -> Vec<u8> {
        let options = self.options.len() + 1 + self.padding;
        let datagram = udp::HEADER + dhcp::FIXED + options;
        let (total, datagram) = ((20 + datagram as u16).to_be_bytes(), (datagram as u16).to_be_bytes());
        let [from, to] = self.ports.map(u16::to_be_bytes);
        // Slices, for this runs by the million, and arrays are iterated over where nothing is optimised.
        let mut frame = Vec::with_capacity(1024);
        frame.extend_from_slice(&self.destination_mac);
        frame.extend_from_slice(&self.source_mac);
        let tags = self.vlan.iter().filter(|vid| **vid != 0).count();
        for (i, vid) in self.vlan.iter().take(tags).enumerate() {
            let tpid: u16 = if i + 1 < tags { 0x88a8 } else { 0x8100 };
            frame.extend_from_slice(&tpid.to_be_bytes());
            frame.extend_from_slice(&vid.to_be_bytes());
        }
        frame.extend_from_slice(&[0x08, 0x00, 0x45, 0x00, total[0], total[1], 0, 0, 0, 0, 64, 17, 0, 0]);
        frame.extend_from_slice(&self.source);
        frame.extend_from_slice(&self.destination);
        frame.extend_from_slice(&[from[0], from[1], to[0], to[1], datagram[0], datagram[1], 0, 0]);
        frame.extend_from_slice(&self.fixed);
        frame.extend_from_slice(&self.options);
        frame.push(255);
        frame.resize(frame.len() + self.padding, 0);
        frame
    }
}

/// Any request that a client might send, sound or not.
pub(crate) fn frame(random: &mut Random) -> Vec<u8> {
    let mut frame = draft(random).frame();
    match random.below(12) {
        0 => flip(random, &mut frame),
        1 => frame.truncate(random.below(frame.len() as u64 + 1) as usize),
        2 => {
            let more = random.below(64) as usize;
            let padding = random.bytes(more);
            frame.extend(padding);
        }
        _ => {}
    }
    // BPF_PROG_TEST_RUN refuses less than an Ethernet and an IPv4 header.
    frame.resize(frame.len().max(34), 0);
    frame
}

fn flip(random: &mut Random, frame: &mut [u8]) {
    for _ in 0..=random.below(4) {
        let at = random.below(frame.len() as u64) as usize;
        frame[at] ^= 1 << random.below(8);
    }
}

fn draft(random: &mut Random) -> Draft {
    let vlan = random.pick(&VLANS);
    let number = random.pick(&[1, 1, 1, 1, 1, 1, 2, 2, 3, 4, 5, 6, 7, 8]);
    let message_type = random.pick(&[1, 1, 1, 1, 1, 3, 3, 3, 3, 3, 8, 8, 4, 7, 0, 9]);
    let mut draft = Draft::new(message_type, number, vlan);
    if random.one_in(2) {
        draft.fixed[10] = 0x80;
    }
    let xid = random.bytes(4);
    draft.fixed[4..8].copy_from_slice(&xid);
    let own = address(vlan, number);
    let asked =
        if random.one_in(4) { random.pick(&[[10, 77, 0, 99], [192, 168, 1, 1], [0; 4]]) } else { own };
    if message_type == 3 || random.one_in(6) {
        draft = state(random, draft, own, asked);
    }
    if random.one_in(5) || number == site::RELAYED {
        draft = draft.relayed();
        if random.one_in(2) {
            let length = random.pick(&[1, 4, 20, 64, 255]);
            draft = late(draft, 82, random.bytes(length));
        }
    }
    if random.one_in(6) {
        draft = draft.unicast(if random.one_in(8) { [0; 4] } else { own }, 4011);
        draft.ports[0] = random.pick(&[68, 4011]);
    }
    let draft = client(random, draft);
    noise(random, draft)
}

/// One of RFC 2131's client states, or a mixture of them.
fn state(random: &mut Random, draft: Draft, own: [u8; 4], asked: [u8; 4]) -> Draft {
    let server = if random.one_in(8) { [10, 77, 0, 2] } else { our_address(draft.vlan) };
    match random.below(6) {
        0 | 1 => draft.option(50, &asked).option(54, &server),
        2 => draft.option(50, &asked),
        3 => draft.field(12, asked).unicast(own, 67),
        4 => draft.field(12, asked),
        _ => draft.field(12, own).option(50, &asked).option(54, &server),
    }
}

/// Options of firmware, iPXE, an operating system, or nonsense.
fn client(random: &mut Random, draft: Draft) -> Draft {
    let arch = random.pick(&[0_u16, 6, 7, 9, 10, 11, 16, 19, 27, 0xffff]).to_be_bytes();
    let uuid: Vec<u8> = std::iter::once(u8::from(random.one_in(20))).chain(random.bytes(16)).collect();
    let chaddr: [u8; 6] = draft.fixed[28..34].try_into().unwrap_or_default();
    let by_mac: Vec<u8> = std::iter::once(1).chain(chaddr).collect();
    let draft = match random.below(5) {
        0 => draft.option(61, &by_mac),
        1 => {
            let length = random.pick(&[0, 1, 2, 19, 64, 255]);
            let id = random.bytes(length);
            draft.option(61, &id)
        }
        _ => draft,
    };
    match random.below(7) {
        0 => draft.option(60, b"PXEClient:Arch:00000:UNDI:002001").option(93, &arch).option(97, &uuid),
        1 => draft.option(60, b"HTTPClient:Arch:00016:UNDI:003000").option(93, &arch).option(97, &uuid),
        2 | 3 => {
            let draft = draft.option(60, b"PXEClient:Arch:00007").option(93, &arch).option(97, &uuid);
            let draft = draft
                .option(77, random.pick(&[&b"iPXE"[..], b"\x04iPXE", b"netboot", b"\x07netboot", b"iPXf"]));
            if random.one_in(5) { draft } else { draft.option(175, &[177, 2, 1, 2, 19, 1, 1, 23, 1, 1]) }
        }
        4 => draft.option(60, b"udhcp 1.35.0").option(12, b"node1"),
        5 => {
            let list: Vec<u8> = [arch, 7_u16.to_be_bytes(), 0_u16.to_be_bytes()].concat();
            draft.option(60, b"PXEClient").option(93, &list[..random.below(7) as usize])
        }
        _ => draft,
    }
}

fn noise(random: &mut Random, mut draft: Draft) -> Draft {
    if random.one_in(3) {
        draft = draft.option(57, &random.pick(&[0_u16, 575, 576, 590, 1472, 65_535]).to_be_bytes());
    }
    if random.one_in(3) {
        draft = draft.option(55, &[1, 3, 6, 12, 15, 43, 60, 66, 67]);
    }
    for _ in 0..random.below(3) {
        let code = random.next() as u8;
        let length = random.below(20) as usize;
        let value = random.bytes(length);
        draft = draft.option(code, &value);
    }
    if random.one_in(10) {
        let pads = random.pick(&[1, 3, 40, 120]);
        draft.options.extend(vec![0; pads]);
    }
    if random.one_in(2) {
        draft.padding = random.pick(&[1, 20, 60, 200]);
    }
    draft
}

/// Option 82 goes last, as relay agents put it; its length may be anything.
fn late(draft: Draft, code: u8, value: Vec<u8>) -> Draft {
    draft.option(code, &value)
}
