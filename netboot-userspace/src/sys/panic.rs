//! Panics: the end of the process, but where a library's is what we ask about.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};

thread_local! {
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// From now on a panic in any thread ends the process: a server that lost one of its threads must not look alive.
pub fn abort_on_panic() {
    let say = take_hook();
    set_hook(Box::new(move |panic| {
        if !CONTAINED.get() {
            say(panic);
            std::process::abort();
        }
    }));
}

/// Runs `body`, whose panic is an answer: its message.
///
/// # Errors
/// It panicked. What it had in hand is dropped.
pub fn contain<T>(body: impl FnOnce() -> T) -> Result<T, String> {
    let outer = CONTAINED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(body));
    CONTAINED.set(outer);
    result.map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::contain;

    #[test]
    fn a_contained_panic_is_its_message() {
        assert_eq!(contain(|| 7), Ok(7));
        assert_eq!(contain(|| panic!("page {} is gone", 3)), Err::<(), _>("page 3 is gone".to_owned()));
        assert_eq!(contain(|| 8), Ok(8));
    }
}
