use super::*;
use std::vec::Vec;

struct Books {
    accounts: Vec<Account>,
    cells: Vec<Cell>,
    bounds: Bounds,
}

impl Books {
    fn new(shards: usize, capacity: u32) -> Books {
        let bounds = Bounds {
            vifs: 2,
            vrfs: 2,
            capacity,
            half_open_percent: 25,
        };
        let accounts = bounds.accounts();
        Books {
            accounts: (0..accounts).map(|_| Account::default()).collect(),
            cells: (0..shards * accounts).map(|_| Cell::default()).collect(),
            bounds,
        }
    }

    fn books(&self) -> Accounts<'_> {
        Accounts {
            accounts: &self.accounts,
            cells: &self.cells,
            bounds: self.bounds,
        }
    }
}

const ID: AccountId = AccountId(2);

fn spend(books: Accounts<'_>, shard: usize, half_open: bool) -> Result<(), Kind> {
    books.spend(shard, ID, half_open).map(|_| ())
}

#[test]
fn a_limit_admits_just_so_many_whoever_spends_them() {
    for shards in 1..4 {
        let books = Books::new(shards, 1000);
        let books = books.books();
        books.set_limit(ID, Some(100));
        // The last worker finds what the others did not spend.
        for spent in 0..100 {
            let shard = if spent < 10 {
                spent % shards
            } else {
                shards - 1
            };
            assert_eq!(spend(books, shard, false), Ok(()), "{spent}");
        }
        assert_eq!(spend(books, 0, false), Err(Kind::Pairs));
        let usage = books.usage(ID);
        assert_eq!(
            (usage.used, usage.limit, usage.high_water),
            (100, Some(100), 100)
        );
        books.refund(0, ID, 1, 0);
        assert_eq!(books.usage(ID).used, 99);
        assert_eq!(spend(books, shards - 1, false), Ok(()));
    }
}

#[test]
fn half_open_pairs_have_a_share_of_the_limit() {
    let books = Books::new(1, 1000);
    let books = books.books();
    books.set_limit(ID, Some(20));
    for _ in 0..5 {
        assert_eq!(spend(books, 0, true), Ok(()));
    }
    assert_eq!(spend(books, 0, true), Err(Kind::HalfOpen));
    assert_eq!((books.usage(ID).used, books.usage(ID).half_open), (5, 5));
    books.refund_half_open(0, ID);
    assert_eq!(spend(books, 0, true), Ok(()));
    for _ in 0..14 {
        assert_eq!(spend(books, 0, false), Ok(()));
    }
    assert_eq!(spend(books, 0, false), Err(Kind::Pairs));
    assert_eq!(spend(books, 0, true), Err(Kind::HalfOpen));
    books.refund_half_open(0, ID);
    assert_eq!(spend(books, 0, true), Err(Kind::Pairs));
    for _ in 0..20 {
        books.refund(0, ID, 1, 0);
    }
    assert_eq!((books.usage(ID).used, books.usage(ID).half_open), (0, 4));
    assert_eq!(books.usage(ID).high_water, 20);
}

#[test]
fn the_high_water_mark_is_exact_for_one_worker() {
    let books = Books::new(3, 10_000);
    let books = books.books();
    for (up, down) in [(10, 5), (70, 75), (500, 500), (501, 3), (0, 498)] {
        for _ in 0..up {
            spend(books, 1, false).unwrap();
        }
        for _ in 0..down {
            books.refund(1, ID, 1, 0);
        }
    }
    let usage = books.usage(ID);
    assert_eq!((usage.used, usage.high_water), (0, 501));
}

#[test]
fn what_is_taken_back_leaves_no_mark() {
    let books = Books::new(1, 1000);
    let books = books.books();
    for _ in 0..40 {
        spend(books, 0, false).unwrap();
    }
    let spent = books.spend(0, ID, true).unwrap();
    books.take_back(0, ID, true, spent);
    let spent = books.spend(0, ID, false).unwrap();
    books.refund(0, ID, 1, 0);
    spend(books, 0, true).unwrap();
    // The cell is another's now: as after any refund.
    books.take_back(0, ID, false, spent);
    let usage = books.usage(ID);
    assert_eq!((usage.used, usage.half_open, usage.high_water), (40, 1, 41));
}

#[test]
fn a_lower_limit_holds_at_once() {
    let books = Books::new(2, 1000);
    let books = books.books();
    for shard in [0, 1, 0, 1] {
        spend(books, shard, false).unwrap();
    }
    books.set_limit(ID, Some(2));
    for shard in [0, 1] {
        assert_eq!(spend(books, shard, false), Err(Kind::Pairs));
    }
    books.refund(0, ID, 1, 0);
    books.refund(1, ID, 1, 0);
    assert_eq!(spend(books, 0, false), Err(Kind::Pairs));
    books.refund(0, ID, 1, 0);
    assert_eq!(spend(books, 1, false), Ok(()));
    books.set_limit(ID, None);
    assert_eq!(spend(books, 1, false), Ok(()));
    assert_eq!((books.usage(ID).used, books.usage(ID).limit), (3, None));
}

#[test]
fn a_lower_limit_holds_for_half_open_pairs_too() {
    let books = Books::new(2, 1000);
    let books = books.books();
    for shard in [0, 1, 0] {
        spend(books, shard, true).unwrap();
    }
    books.set_limit(ID, Some(8));
    books.refund_half_open(1, ID);
    assert_eq!(spend(books, 0, true), Err(Kind::HalfOpen));
    books.refund(0, ID, 1, 1);
    assert_eq!(spend(books, 1, true), Ok(()));
    assert_eq!(spend(books, 1, true), Err(Kind::HalfOpen));
}

#[test]
fn owners_without_an_account_of_their_own_share_the_last() {
    let books = Books::new(1, 1000);
    let books = books.books();
    assert_eq!(books.id(Owner::Vif(1)), books.id(Owner::Vif(77)));
    assert_ne!(books.id(Owner::Vif(0)), books.id(Owner::Vif(1)));
    assert_eq!(books.id(Owner::Vrf(u32::MAX)), AccountId(4));
}

#[test]
fn many_workers_lose_no_credit() {
    let books = Books::new(3, 1000);
    let books = books.books();
    books.set_limit(ID, Some(50));
    std::thread::scope(|scope| {
        for worker in 0..4 {
            scope.spawn(move || {
                let mut held = 0;
                for round in 0..30_000_u32 {
                    let shard = (worker + round as usize / 100) % 3;
                    if round % 7 < 4 && spend(books, shard, round % 3 == 0).is_ok() {
                        held += 1;
                        if round % 3 == 0 {
                            books.refund_half_open(shard, ID);
                        }
                    } else if held > 0 {
                        held -= 1;
                        books.refund(shard, ID, 1, 0);
                    }
                }
                for _ in 0..held {
                    books.refund(0, ID, 1, 0);
                }
            });
        }
    });
    let usage = books.usage(ID);
    assert_eq!((usage.used, usage.half_open), (0, 0));
    assert_eq!(usage.high_water, 50);
    for _ in 0..50 {
        assert_eq!(spend(books, 0, false), Ok(()));
    }
    assert_eq!(spend(books, 0, false), Err(Kind::Pairs));
}

#[test]
fn a_forgotten_account_has_no_past() {
    let books = Books::new(2, 1000);
    let books = books.books();
    for _ in 0..70 {
        spend(books, 0, false).unwrap();
    }
    for _ in 0..60 {
        books.refund(1, ID, 1, 0);
    }
    books.count_refused(0, ID);
    books.count_evicted(1, ID);
    books.forget(ID);
    let usage = books.usage(ID);
    assert_eq!((usage.used, usage.high_water), (10, 10));
    assert_eq!((usage.refused, usage.evicted), (0, 0));
    spend(books, 0, false).unwrap();
    assert_eq!(books.usage(ID).high_water, 11);
}
