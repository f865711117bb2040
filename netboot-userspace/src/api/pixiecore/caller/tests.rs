#![allow(clippy::unwrap_used)]

use super::book::{BOOT, FAILED, MACHINES, NO};
use super::*;

const MAC: Mac = Mac([0x52, 0x54, 0, 0, 0, 1]);
const X64: Option<Cpu> = Some(Cpu::X86_64);

/// An API that answers so, and what it was asked.
fn caller(status: u16, body: &'static str) -> (Arc<Caller>, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let told = asked.clone();
    let ask: Ask = Arc::new(move |url| {
        told.lock().unwrap().push(url);
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if status == 0 { Err("no answer within 5 s".to_owned()) } else { Ok((status, body.into())) }
        })
    });
    (asking(ask), asked)
}

const WITHIN: Duration = Duration::from_secs(5);

fn asking(ask: Ask) -> Arc<Caller> {
    let base = Base::new("http://api/p", vec![]).unwrap();
    Arc::new(Caller::new("http://api/p", base, true, WITHIN, ask, Handle::current(), Arc::default()))
}

fn hangs() -> Ask {
    Arc::new(|_| Box::pin(std::future::pending::<Result<(u16, Vec<u8>), String>>()))
}

fn nth(n: usize) -> Mac {
    let [.., a, b, c] = n.to_be_bytes();
    Mac([2, 0, 0, a, b, c])
}

type Told = tokio::sync::oneshot::Receiver<Result<(), Refusal>>;

/// A DISCOVER, and when it is told.
fn discover(caller: &Arc<Caller>, mac: Mac) -> Told {
    let (tell, told) = tokio::sync::oneshot::channel();
    caller.of_dhcp(mac, X64, |verdict| drop(tell.send(verdict)));
    told
}

async fn dhcp(caller: &Arc<Caller>, cpu: Option<Cpu>) -> Result<(), Refusal> {
    let (tell, told) = tokio::sync::oneshot::channel();
    caller.of_dhcp(MAC, cpu, |verdict| drop(tell.send(verdict)));
    told.await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn px_28_one_boot_asks_the_api_once() {
    let (caller, asked) = caller(200, r#"{"kernel":"/k"}"#);
    let count = || asked.lock().unwrap().len();
    // Firmware that repeats itself before the answer is there, then iPXE, then the script, twice.
    let (first, last) = (discover(&caller, MAC), discover(&caller, MAC));
    assert_eq!(last.await.unwrap(), Ok(()));
    first.await.unwrap_err();
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(dhcp(&caller, X64).await, Ok(()));
    assert_eq!(dhcp(&caller, None).await, Ok(()), "an iPXE that does not say what it is");
    caller.of_script(MAC, Some(Cpu::I386)).await.unwrap();
    caller.of_script(MAC, X64).await.unwrap();
    assert_eq!(*asked.lock().unwrap(), ["http://api/p/v1/boot/52:54:00:00:00:01?arch=x86_64"]);
    // The next boot is another one, however soon it comes.
    assert_eq!(dhcp(&caller, X64).await, Ok(()));
    assert_eq!(count(), 2);
    assert_eq!(dhcp(&caller, Some(Cpu::I386)).await, Ok(()));
    assert_eq!(count(), 3, "another architecture is another question");
    tokio::time::advance(BOOT).await;
    assert_eq!(dhcp(&caller, X64).await, Ok(()));
    assert_eq!(count(), 4, "an answer is not kept for ever");
}

#[tokio::test(start_paused = true)]
async fn px_50_what_is_no_answer_boots_nothing_and_is_told_with_its_cause() {
    for (status, body, words, again) in [
        (404, "", "the API answered 404", NO),
        // It may answer otherwise soon.
        (503, "", "the API answered 503", FAILED),
        (429, "", "the API answered 429", FAILED),
        (0, "", "no answer within 5 s", FAILED),
        (200, "{", "is no JSON", FAILED),
        (200, "{}", "kernel: is missing", FAILED),
    ] {
        let (caller, asked) = caller(status, body);
        let refusal = dhcp(&caller, X64).await.unwrap_err();
        assert!(refusal.to_string().contains(words), "{refusal}");
        assert_eq!(caller.of_script(MAC, X64).await.unwrap_err(), refusal);
        assert_eq!(asked.lock().unwrap().len(), 1, "{words}");
        let (told, _) = caller.events.follow(9);
        let told: Vec<_> =
            told.iter().map(|event| (event.kind.as_str(), event.text.contains(words))).collect();
        assert_eq!(told, [("refused", true)]);
        tokio::time::advance(again).await;
        drop(dhcp(&caller, X64).await);
        assert_eq!(asked.lock().unwrap().len(), 2, "{words}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_api_that_hangs_keeps_no_machine_longer_than_one_answer_may_take() {
    let caller = asking(hangs());
    let began = Instant::now();
    let told: Vec<Told> = (0..1000).map(|n| discover(&caller, nth(n))).collect();
    for told in told {
        let refusal = told.await.unwrap().unwrap_err();
        assert!(refusal.to_string().ends_with("no answer within 5 s"), "{refusal}");
    }
    let took = began.elapsed();
    assert!(took >= WITHIN && took < WITHIN + Duration::from_secs(1), "{took:?}");
    let script = caller.of_script(nth(1000), X64).await.unwrap_err();
    assert!(matches!(script, Refusal::Failed(_)), "{script}");
    assert!(began.elapsed() < 2 * WITHIN + Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn of_more_machines_than_may_wait_none_is_asked_for_and_that_is_counted() {
    let caller = asking(hangs());
    let waiting: Vec<Told> = (0..WAITING).map(|n| discover(&caller, nth(n))).collect();
    for n in WAITING..WAITING + 9 {
        assert_eq!(discover(&caller, nth(n)).await.unwrap(), Err(Refusal::Busy));
    }
    assert_eq!(caller.busy.load(Ordering::Relaxed), 9);
    // Those that wait may say so again.
    let again = discover(&caller, nth(0));
    for told in waiting.into_iter().skip(1) {
        assert!(matches!(told.await.unwrap(), Err(Refusal::Failed(_))));
    }
    assert!(matches!(again.await.unwrap(), Err(Refusal::Failed(_))));
    assert!(!matches!(discover(&caller, nth(WAITING)).await.unwrap(), Err(Refusal::Busy)), "there is room");
}

/// Whoever invents machines fills the book; what it says of boots that are under way stays.
#[tokio::test(start_paused = true)]
async fn a_flood_of_machines_that_boot_nothing_makes_no_boot_ask_twice() {
    let asked = Arc::new(AtomicU64::new(0));
    let count = asked.clone();
    let ask: Ask = Arc::new(move |url| {
        let is_it = url.contains(&MAC.to_string());
        count.fetch_add(u64::from(is_it), Ordering::Relaxed);
        let (status, body) = if is_it { (200, r#"{"kernel":"/k"}"#) } else { (404, "") };
        Box::pin(async move { Ok((status, body.as_bytes().to_vec())) })
    });
    let caller = asking(ask);
    assert_eq!(discover(&caller, MAC).await.unwrap(), Ok(()));
    for batch in 0..2 * MACHINES / 1024 {
        let told: Vec<Told> = (0..1024).map(|n| discover(&caller, nth(batch * 1024 + n))).collect();
        for told in told {
            assert!(matches!(told.await.unwrap(), Err(Refusal::No(_))));
        }
    }
    caller.of_script(MAC, X64).await.unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_question_that_nobody_asks_any_more_is_asked_again() {
    let first = std::sync::atomic::AtomicBool::new(true);
    let ask: Ask = Arc::new(move |_| {
        assert!(!first.swap(false, Ordering::Relaxed), "a fault of ours");
        Box::pin(async { Ok((404, Vec::new())) })
    });
    let caller = asking(ask);
    drop(discover(&caller, MAC));
    caller.of_script(MAC, X64).await.unwrap_err();
    assert!(matches!(caller.of_script(MAC, X64).await, Err(Refusal::No(_))));
}
