use super::lab::*;
#[test]
fn loads() {
    drop(Bench::get());
}
