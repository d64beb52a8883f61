//! How far a watcher has come when nothing happens: told from time to time, and when asked.

use proto::etcdserverpb::WatchCreateRequest;

use super::{Watching, at, on_key};
use crate::both::same;

#[test]
fn is_told_when_asked() {
    same(&[], async |talk| {
        talk.put("other", "1").await;
        let mut watching = Watching::open(&talk.grpc).await;
        // Of nobody.
        watching.ask_for_progress();
        watching.note_silence(talk).await;
        watching.create(on_key("a")).await;
        watching.ask_for_progress();
        watching.note_next(talk, 1).await;
        watching.create(on_key("b")).await;
        watching.create(WatchCreateRequest { watch_id: 40, ..on_key("c") }).await;
        talk.put("other", "2").await;
        for _ in 0..3 {
            watching.ask_for_progress();
            watching.note_next(talk, 1).await;
        }
        talk.put("b", "1").await;
        watching.note_next(talk, 1).await;
        watching.ask_for_progress();
        watching.note_next(talk, 1).await;
        watching.note_silence(talk).await;
    });
}

#[test]
fn is_not_told_while_one_waits_for_the_future() {
    same(&[], async |talk| {
        let revision = talk.put("other", "1").await;
        let mut watching = Watching::open(&talk.grpc).await;
        watching.create(on_key("a")).await;
        let start_revision = revision + 2;
        watching.create(WatchCreateRequest { start_revision, ..on_key("a") }).await;
        watching.ask_for_progress();
        watching.note_silence(talk).await;
    });
}

#[test]
fn is_told_from_time_to_time() {
    same(&["--watch-progress-notify-interval=150ms"], async |talk| {
        let first = talk.put("other", "1").await;
        let mut watching = Watching::open(&talk.grpc).await;
        watching.create(on_key("a")).await;
        for watch_id in [5, 6] {
            let progress_notify = true;
            let request = WatchCreateRequest { watch_id, progress_notify, ..on_key("a") };
            watching.create(request).await;
        }
        // The first two turns.
        watching.note_next(talk, 4).await;
        let second = talk.put("other", "2").await;
        let news = watching.next_that(|response| at(response) == second).await;
        talk.note("news", (first, second, news.events));
        let third = talk.put("a", "2").await;
        let events = watching.next_that(|response| response.watch_id == 5 && at(response) == third);
        talk.note("events", events.await);
        let later = watching
            .next_that(|response| {
                response.watch_id == 5 && response.events.is_empty() && at(response) == third
            })
            .await;
        talk.note("progress behind the events", later);
        // The one that did not ask hears of its event only.
        let of_the_quiet: Vec<_> =
            watching.early.into_iter().filter(|response| response.watch_id == 0).collect();
        talk.note("of the quiet one", of_the_quiet);
    });
}
