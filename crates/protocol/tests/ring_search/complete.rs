//! The complete graph with two views: all clients are alike, so a round is a multiset of letters and
//! only counts matter. Everyone is a witness, and holds a share of everyone's secrets, its own too.

use super::model::{Acceptance, Graph, Play, Set, View, has};

/// Where a client stands in one view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Absent,
    Dropped,
    Survivor,
}
use Standing::{Absent, Dropped, Survivor};

/// What becomes of one honest client, with the views P (0) and Q (1).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    pub stands: [Standing; 2],
    /// The view that it is shown and signs; without one, it was shown other sharers, or nothing.
    pub shown: Option<usize>,
    pub in_sum: bool,
}

impl Client {
    fn survives(self, view: usize) -> bool {
        self.stands[view] == Survivor
    }

    fn shares(self, view: usize) -> bool {
        self.stands[view] != Absent
    }
}

/// n clients, c of them corrupt; t for shares and for statements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Complete {
    pub n: usize,
    pub c: usize,
    pub t: usize,
}

/// Every letter there is. (Only a survivor of a view can be in a sum: nobody reveals `B_u` else.)
fn letters() -> Vec<Client> {
    let standings = [Absent, Dropped, Survivor];
    let mut letters = Vec::new();
    for stands in standings.iter().flat_map(|&p| standings.map(|q| [p, q])) {
        for shown in [None, Some(0), Some(1)] {
            if shown.is_some_and(|view: usize| stands[view] != Survivor) {
                continue;
            }
            for in_sum in [false, true] {
                if !in_sum || stands.contains(&Survivor) {
                    letters.push(Client {
                        stands,
                        shown,
                        in_sum,
                    });
                }
            }
        }
    }
    letters
}

/// What the counts of a multiset make known.
struct Known {
    /// Whether the clients that were shown a view reveal.
    accepted: [bool; 2],
    revealing: [usize; 2],
    corrupt: usize,
    t: usize,
}

impl Known {
    fn shares(&self, client: Client, kind: Standing) -> usize {
        let from = |view: usize| {
            if client.stands[view] == kind {
                self.revealing[view]
            } else {
                0
            }
        };
        self.corrupt + from(0) + from(1)
    }

    fn self_mask(&self, client: Client) -> bool {
        self.shares(client, Survivor) >= self.t
    }

    fn mask_secret(&self, client: Client) -> bool {
        self.shares(client, Dropped) >= self.t
    }

    /// Whether the mask between u, in the sum, and v is known, or cancels because v is in the sum too
    /// and each has the other among the sharers that it was shown. To a client that is shown neither
    /// view, it is best to show all these v, and no others. (It is one of them itself, as the holder
    /// of a share of its own.)
    fn removes(&self, u: Client, v: Client) -> bool {
        let shown = |to: Client, of: Client| to.shown.is_none_or(|view| of.shares(view));
        self.mask_secret(v) || v.in_sum && shown(u, v) && shown(v, u)
    }
}

impl Complete {
    fn known(self, clients: &[Client]) -> Known {
        let count =
            |test: &dyn Fn(Client) -> bool| self.c + clients.iter().filter(|&&l| test(l)).count();
        let mut known = Known {
            accepted: [false; 2],
            revealing: [0; 2],
            corrupt: self.c,
            t: self.t,
        };
        for view in [0, 1] {
            let shown = count(&|l| l.shown == Some(view));
            // Survivors are sharers, so enough of the one are enough of the other.
            known.accepted[view] = shown >= self.t && count(&|l| l.survives(view)) >= self.t;
            known.revealing[view] = if known.accepted[view] {
                shown - self.c
            } else {
                0
            };
        }
        known
    }

    /// Whether the clients marked as in the sum can be one whose masks are all removed.
    fn learnable(self, clients: &[Client], known: &Known) -> bool {
        clients.iter().filter(|client| client.in_sum).all(|&u| {
            let shown = |v: &&Client| match u.shown {
                Some(view) => v.shares(view),
                None => known.removes(u, **v),
            };
            known.self_mask(u)
                && self.c + clients.iter().filter(shown).count() >= self.t
                && clients.iter().filter(shown).all(|&v| known.removes(u, v))
        })
    }

    /// Whether these clients' round breaks what the protocol promises: a client has both its secrets
    /// known, or a sum is learned that lacks an honest survivor of every accepted view.
    pub(crate) fn broken(self, clients: &[Client]) -> bool {
        let known = self.known(clients);
        if known.accepted == [false; 2] {
            return false;
        }
        let exposed = |&client: &Client| known.self_mask(client) && known.mask_secret(client);
        let covers = |view: usize| clients.iter().all(|l| l.in_sum || !l.survives(view));
        clients.iter().any(exposed)
            || clients.iter().any(|l| l.in_sum)
                && (0..2).all(|view| !known.accepted[view] || !covers(view))
                && self.learnable(clients, &known)
    }

    /// Tries every multiset of letters; returns a broken one, if there is any, and how many it tried.
    pub(crate) fn search(self) -> (Option<Vec<Client>>, u64) {
        fn fill(
            case: Complete,
            letters: &[Client],
            clients: &mut Vec<Client>,
            tried: &mut u64,
        ) -> bool {
            if clients.len() == case.n - case.c {
                *tried += 1;
                return case.broken(clients);
            }
            (0..letters.len()).any(|first| {
                clients.push(letters[first]);
                let found = fill(case, &letters[first..], clients, tried);
                if !found {
                    clients.pop();
                }
                found
            })
        }
        let (mut clients, mut tried) = (Vec::new(), 0);
        let found = fill(self, &letters(), &mut clients, &mut tried);
        (found.then_some(clients), tried)
    }

    /// Which views are accepted.
    pub(crate) fn accepted(self, clients: &[Client]) -> [bool; 2] {
        self.known(clients).accepted
    }

    /// The places of the clients that a test picks, and of the corrupt ones, which come first.
    fn places(self, clients: &[Client], test: impl Fn(Client) -> bool) -> Set {
        let members = clients
            .iter()
            .enumerate()
            .filter(|&(_, &client)| test(client));
        members.fold((1 << self.c) - 1, |set, (place, _)| {
            set | 1 << (self.c + place)
        })
    }

    /// The survivors of a view.
    pub(crate) fn survivors(self, clients: &[Client], view: usize) -> Set {
        self.places(clients, |client| client.survives(view))
    }

    /// The course of the round.
    pub(crate) fn play(self, clients: &[Client]) -> Play {
        let known = self.known(clients);
        let views = [0, 1].map(|view| View {
            sharers: Some(self.places(clients, |client| client.shares(view))),
            survivors: Some(self.survivors(clients, view)),
        });
        let shown = clients.iter().map(|&u| match u.shown {
            Some(view) => views[view],
            None if u.in_sum => View {
                sharers: Some(self.places(clients, |v| known.removes(u, v))),
                survivors: None,
            },
            None => View::default(),
        });
        let everyone = (1 << self.n) - 1;
        Play {
            graph: Graph::complete(self.n),
            threshold: self.t as u32,
            min_holders: self.t as u32,
            min_survivors: 0,
            corrupt: (1 << self.c) - 1,
            acceptance: Acceptance::Witnesses {
                witnesses: everyone,
                threshold: self.t as u32,
            },
            views: vec![View::default(); self.c]
                .into_iter()
                .chain(shown)
                .collect(),
            revealed_elsewhere: 0,
            headers: None,
        }
    }
}

impl Complete {
    /// Whether some round with two views is broken: every pair of views, every set of sharers that a
    /// client could be shown instead, no multisets. Returns the rounds played, too.
    fn insecure_one_by_one(self) -> (bool, u64) {
        let all: Set = (1 << self.n) - 1;
        let within = |set: Set| (0..=set).filter(move |part| part & !set == 0);
        let views: Vec<View> = (0..=all)
            .flat_map(|sharers| within(sharers).map(move |survivors| (sharers, survivors)))
            .map(|(p, q)| View {
                sharers: Some(p),
                survivors: Some(q),
            })
            .collect();
        let mut played = 0;
        for (i, p) in views.iter().enumerate() {
            for q in &views[i..] {
                let apart = (0..=all).map(|set| View {
                    sharers: Some(set),
                    survivors: None,
                });
                let enough = |view: &View| {
                    view.sharers
                        .is_some_and(|set| set.count_ones() as usize >= self.t)
                };
                let choices: Vec<View> = [View::default(), *p, *q]
                    .into_iter()
                    .chain(apart.filter(enough))
                    .collect();
                let mut play = self.play(&[]);
                play.views = vec![View::default(); self.n];
                if choose(&mut play, self.c, &choices, [*p, *q], &mut played) {
                    return (true, played);
                }
            }
        }
        (false, played)
    }
}

/// Tries all choices of what the places from `place` on are shown, until a round is broken.
fn choose(
    play: &mut Play,
    place: usize,
    choices: &[View],
    views: [View; 2],
    played: &mut u64,
) -> bool {
    if place == play.views.len() {
        *played += 1;
        let learned = play.learn();
        let accepted =
            |view: &&View| (0..place).any(|p| has(learned.revealing, p) && play.views[p] == **view);
        let covers = |sum: Set, view: &View| {
            view.survivors
                .is_some_and(|survivors| survivors & play.honest() & !sum == 0)
        };
        let whole = |&sum: &Set| views.iter().filter(accepted).any(|view| covers(sum, view));
        return learned.exposed != 0 || !learned.sums.iter().all(whole);
    }
    choices.iter().any(|&view| {
        play.views[place] = view;
        choose(play, place + 1, choices, views, played)
    })
}

#[test]
fn small_complete_graphs_agree_with_every_round_played_out() {
    let mut all = 0;
    for (n, c, t) in [
        (3, 0, 2),
        (3, 1, 2),
        (3, 1, 3),
        (4, 1, 3),
        (4, 2, 3),
        (4, 2, 4),
    ] {
        let case = Complete { n, c, t };
        let (insecure, played) = case.insecure_one_by_one();
        assert_eq!(insecure, case.search().0.is_some(), "{case:?}");
        assert_eq!(insecure, 2 * t <= n + c, "{case:?}");
        all += played;
    }
    println!("{all} rounds played");
}
