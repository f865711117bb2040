//! The answer as bytes.

use super::client;
use super::exchange::{Answer, Client, Said};
use super::tables::{Plan, Served, Subnet6};
use super::wire::{Envelope, IaKind, MessageType, Writer, option};

use netboot_common::wire::pxe;

/// Intel's, whose `HTTPClient` says that the boot file URL is meant for UEFI HTTP Boot (UEFI specification section 24.7).
const ENTERPRISE: u32 = 343;

/// What an answer is written from.
pub(super) struct Facts<'a> {
    pub(super) plan: &'a Plan,
    pub(super) served: &'a Served,
    pub(super) subnet: &'a Subnet6,
    pub(super) client: &'a Client,
}

/// Writes the answer, and around it what the relay agents need; `None`: it has no room.
pub(super) fn write(
    envelope: &Envelope<'_>,
    answer: &Answer,
    facts: &Facts<'_>,
    out: &mut [u8],
) -> Option<usize> {
    let mut writer = Writer::new(out);
    writer.relayed(&envelope.relays, |writer| message(writer, envelope, answer, facts));
    writer.finish()
}

fn message(writer: &mut Writer<'_>, envelope: &Envelope<'_>, answer: &Answer, facts: &Facts<'_>) {
    let request = &envelope.message;
    writer.header(answer.kind, request.transaction);
    if let Some(id) = request.client_id {
        writer.plain(option::CLIENT_ID, id);
    }
    writer.plain(option::SERVER_ID, &facts.plan.server_id);
    if answer.rapid_commit {
        writer.plain(option::RAPID_COMMIT, &[]);
    }
    // A preference for a server that has nothing to give would keep the client from one that has.
    if answer.kind == MessageType::Advertise && answer.leased().is_some() {
        writer.plain(option::PREFERENCE, &[facts.served.preference]);
    }
    if let Some(status) = answer.status {
        writer.status(status);
    }
    for (kind, iaid, said) in &answer.ias {
        association(writer, *kind, *iaid, said, facts.subnet);
    }
    if answer.is_configured {
        options(writer, envelope, facts);
    }
}

fn association(writer: &mut Writer<'_>, kind: IaKind, iaid: u32, said: &Said, subnet: &Subnet6) {
    let lifetimes = Lifetimes::of(subnet);
    let code = match kind {
        IaKind::Na => option::IA_NA,
        IaKind::Ta => option::IA_TA,
        IaKind::Pd => option::IA_PD,
    };
    writer.option(code, |writer| {
        writer.bytes(&iaid.to_be_bytes());
        if kind != IaKind::Ta {
            let (t1, t2) =
                if matches!(said, Said::Leased(..)) { (lifetimes.t1, lifetimes.t2) } else { (0, 0) };
            writer.bytes(&t1.to_be_bytes());
            writer.bytes(&t2.to_be_bytes());
        }
        let gone = match said {
            Said::Leased(ip, gone) => {
                writer.address(*ip, lifetimes.preferred, lifetimes.valid);
                gone
            }
            Said::Gone(gone) => gone,
            Said::Refused(status) => return writer.status(*status),
        };
        gone.iter().for_each(|ip| writer.address(*ip, 0, 0));
    });
}

/// What is asked for, and configured (RFC 8415 section 18.3).
fn options(writer: &mut Writer<'_>, envelope: &Envelope<'_>, facts: &Facts<'_>) {
    let request = &envelope.message;
    let Facts { plan, served, subnet, client } = facts;
    if request.asks_for(option::DNS_SERVERS) && !subnet.dns.is_empty() {
        writer.option(option::DNS_SERVERS, |writer| {
            subnet.dns.iter().for_each(|server| writer.bytes(&server.octets()));
        });
    }
    if request.asks_for(option::DOMAINS) && !plan.domains.is_empty() {
        writer.plain(option::DOMAINS, &plan.domains);
    }
    let is_ignored = client.host.as_ref().is_some_and(|host| host.is_ignored);
    if is_ignored || !request.asks_for(option::BOOTFILE_URL) {
        return;
    }
    let url = plan.url(served, client.host.as_deref(), client.profile.as_deref(), client.class);
    let Some(url) = url else { return };
    if client::boots_by_http(request) {
        writer.option(option::VENDOR_CLASS, |writer| {
            writer.bytes(&ENTERPRISE.to_be_bytes());
            writer.bytes(&(pxe::HTTP_CLIENT.len() as u16).to_be_bytes());
            writer.bytes(&pxe::HTTP_CLIENT);
        });
    }
    writer.plain(option::BOOTFILE_URL, url.as_bytes());
}

/// In seconds. The client renews with the server that gave the address from `t1` on, with any from `t2` on (RFC 8415
/// section 21.4: half and four fifths of the preferred lifetime).
struct Lifetimes {
    t1: u32,
    t2: u32,
    preferred: u32,
    valid: u32,
}

impl Lifetimes {
    fn of(subnet: &Subnet6) -> Self {
        // All ones mean for ever; the configuration allows a year.
        let valid = u32::try_from(subnet.lease.as_secs()).unwrap_or(u32::MAX - 1);
        let preferred = valid / 4 * 3;
        Self { t1: preferred / 2, t2: preferred / 5 * 4, preferred, valid }
    }
}
