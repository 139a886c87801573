//! The state in which no key works, because the store may have been put back from an older copy.

use crate::backend::Instance;
use crate::witness::Reading;

/// What an older copy of the database brings back as it was, whatever became of it since: for whoever accepts one.
pub const COMES_BACK: [&str; 7] = [
    "keys that were revoked, paused or narrowed since, with what was left of them then",
    "admin tokens that were revoked, rotated or narrowed since, that of the owner included",
    "members that were removed or given another role since, and passwords that were changed",
    "upstream credentials that were removed or replaced since, with their real keys",
    "projects that were ended since, and rules and ceilings as they were",
    "master keys that were retired since, unless the key directory has a note of it",
    "the kill switch, on or off as it was",
];

/// Why all keys are stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// Incarnation number in the store.
    pub store_incarnation: u64,
    /// Incarnation number in the witness file, if it could be read.
    pub witness_incarnation: Option<u64>,
    /// What was found, for the operator.
    pub reason: String,
}

/// What store and witness say together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Neither has ever been started.
    New,
    /// They agree, or the store is the one step ahead that a crash between the two writes leaves.
    Sound,
    /// They disagree, or it can't be told.
    Fenced(Fence),
}

/// Compares store and witness. A store that is fenced already stays so, whatever the witness says.
pub(crate) fn judge(instance: Option<&Instance>, witness: &Reading) -> Verdict {
    if let Some(fence) = instance.and_then(|instance| instance.fence.clone()) {
        return Verdict::Fenced(fence);
    }
    let store_incarnation = instance.map_or(0, |instance| instance.mark.incarnation);
    let fenced = |witness_incarnation, reason: String| {
        Verdict::Fenced(Fence { store_incarnation, witness_incarnation, reason })
    };
    let (record, copied) = match witness {
        Reading::Missing if instance.is_none() => return Verdict::New,
        Reading::Missing => {
            let reason = "the witness file is missing, so nothing shows that the database is the newest one";
            return fenced(None, reason.into());
        }
        Reading::Unreadable(reason) => {
            let reason = format!(
                "the witness file can't be read ({reason}), so nothing shows that the database is the newest one"
            );
            return fenced(None, reason);
        }
        Reading::Copied(record) => (record, true),
        Reading::Found(record) => (record, false),
    };
    let mark = record.mark;
    let Some(instance) = instance else {
        // A witness that never saw a start is what a crash during the very first one leaves.
        if mark.incarnation == 0 && !copied {
            return Verdict::New;
        }
        let reason =
            "the database is new although the witness file knows an older one: it was removed or lost";
        return fenced(Some(mark.incarnation), reason.into());
    };
    let one_ahead = mark.incarnation.checked_add(1) == Some(instance.mark.incarnation)
        && instance.previous_nonce == mark.nonce;
    let reason = if copied {
        "this looks like a copy: the witness file is not the file that it was written to. The original may have \
         gone on, or still be running, so what was used there is not known here"
            .into()
    } else if record.instance_id != instance.id {
        "the witness file belongs to another database".into()
    } else if instance.mark == mark || one_ahead {
        return Verdict::Sound;
    } else if instance.mark.incarnation < mark.incarnation {
        format!(
            "the database is older than the witness file (start {} against {}): it was put back from a copy, so \
             what was used since then is not known",
            instance.mark.incarnation, mark.incarnation
        )
    } else if instance.mark.incarnation == mark.incarnation {
        "database and witness file come from two different copies".into()
    } else {
        "the witness file is older than the database: it was put back from a copy".into()
    };
    fenced(Some(mark.incarnation), reason)
}

#[cfg(test)]
mod tests {
    use super::{Fence, Verdict, judge};
    use crate::backend::{Instance, Mark};
    use crate::witness::{Reading, Record};
    use till_core::time::Timestamp;

    fn instance(incarnation: u64, nonce: u8) -> Instance {
        Instance {
            time_seen: Timestamp(0),
            kill_switch: None,
            id: [1; 16],
            mark: Mark { incarnation, nonce: [nonce; 16] },
            previous_nonce: [nonce.wrapping_sub(1); 16],
            fence: None,
            stopped_clean: false,
            version: String::new(),
        }
    }

    fn record(id: u8, incarnation: u64, nonce: u8) -> Record {
        Record { instance_id: [id; 16], mark: Mark { incarnation, nonce: [nonce; 16] } }
    }

    /// `expected` is part of the reason of a fence, or none.
    #[track_caller]
    fn check(instance: Option<Instance>, witness: Reading, expected: Result<Verdict, &str>) {
        match (judge(instance.as_ref(), &witness), expected) {
            (Verdict::Fenced(fence), Err(reason)) => assert!(fence.reason.contains(reason), "{fence:?}"),
            (verdict, Ok(expected)) => assert_eq!(verdict, expected),
            (verdict, Err(_)) => panic!("{verdict:?} for {instance:?} and {witness:?}"),
        }
    }

    #[test]
    fn what_store_and_witness_say_together() {
        use Reading::{Copied, Found, Missing};
        check(None, Missing, Ok(Verdict::New));
        check(None, Found(record(1, 0, 0)), Ok(Verdict::New));
        check(None, Found(record(1, 3, 3)), Err("database is new"));
        check(None, Copied(record(1, 0, 0)), Err("database is new"));
        check(None, Reading::Unreadable("x".into()), Err("can't be read (x)"));
        check(Some(instance(3, 3)), Found(record(1, 3, 3)), Ok(Verdict::Sound));
        check(Some(instance(0, 0)), Found(record(1, 0, 0)), Ok(Verdict::Sound));
        // A crash after the store was written and before the witness was.
        check(Some(instance(4, 4)), Found(record(1, 3, 3)), Ok(Verdict::Sound));
        // One ahead, but of another start 3 than the one that the witness saw.
        check(Some(instance(4, 4)), Found(record(1, 3, 9)), Err("witness file is older"));
        check(Some(instance(5, 5)), Found(record(1, 3, 3)), Err("witness file is older"));
        check(Some(instance(2, 2)), Found(record(1, 3, 3)), Err("start 2 against 3"));
        check(Some(instance(3, 3)), Found(record(1, 3, 7)), Err("two different copies"));
        check(Some(instance(3, 3)), Found(record(2, 3, 3)), Err("another database"));
        check(Some(instance(3, 3)), Copied(record(1, 3, 3)), Err("looks like a copy"));
        check(Some(instance(3, 3)), Missing, Err("missing"));
        check(Some(instance(u64::MAX, 1)), Found(record(1, u64::MAX, 0)), Err("two different copies"));
    }

    #[test]
    fn a_fence_stays_until_it_is_accepted() {
        let fence = Fence { store_incarnation: 1, witness_incarnation: None, reason: "because".into() };
        let fenced = Instance { fence: Some(fence.clone()), ..instance(3, 3) };
        for witness in [Reading::Missing, Reading::Found(record(1, 3, 3))] {
            assert_eq!(judge(Some(&fenced), &witness), Verdict::Fenced(fence.clone()));
        }
    }
}
