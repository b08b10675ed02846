//! Worker threads that each run whole micro-batches.
//!
//! One matrix product of a micro-batch is too small to split well, and element-wise work would
//! stay on one core. So micro-batches run side by side, and each worker executes inside a rayon
//! pool of one thread, where the matrix library finds no further thread to share with.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::error::{Result, TrainingError};

/// A fixed set of single-threaded pools.
pub(crate) struct Workers {
    pools: Vec<rayon::ThreadPool>,
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers")
            .field("threads", &self.pools.len())
            .finish()
    }
}

impl Workers {
    /// One worker a core that this process may use.
    pub(crate) fn per_core() -> Result<Self> {
        let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let pools = (0..cores)
            .map(|_| rayon::ThreadPoolBuilder::new().num_threads(1).build())
            .collect::<std::result::Result<_, _>>()
            .map_err(|e| TrainingError::Worker(e.to_string()))?;
        Ok(Self { pools })
    }

    /// How many jobs run side by side, at least 1.
    pub(crate) fn count(&self) -> usize {
        self.pools.len().max(1)
    }

    /// Applies `f` to every job and gives the results in the order of the jobs, whichever worker
    /// ran them; `done` is called after each, with the number of finished jobs.
    pub(crate) fn map<J: Sync, T: Send>(
        &self,
        jobs: &[J],
        f: impl Fn(&J) -> Result<T> + Sync,
        done: impl FnMut(usize) + Send,
    ) -> Result<Vec<T>> {
        let next = AtomicUsize::new(0);
        let progress = Mutex::new((0, done));
        let run = |pool: &rayon::ThreadPool| {
            let mut results = Vec::new();
            while let Some((i, job)) = {
                let i = next.fetch_add(1, Ordering::Relaxed);
                jobs.get(i).map(|job| (i, job))
            } {
                results.push((i, pool.install(|| f(job))?));
                if let Ok(mut guard) = progress.lock() {
                    let (finished, done) = &mut *guard;
                    *finished += 1;
                    done(*finished);
                }
            }
            Ok(results)
        };
        let run = &run;
        let mut results: Vec<(usize, T)> = Vec::with_capacity(jobs.len());
        let threads = self.pools.iter().take(jobs.len());
        let outcomes: Vec<_> = thread::scope(|scope| {
            let handles: Vec<_> = threads.map(|pool| scope.spawn(move || run(pool))).collect();
            handles
                .into_iter()
                .map(thread::ScopedJoinHandle::join)
                .collect()
        });
        for outcome in outcomes {
            let part: Result<Vec<_>> =
                outcome.map_err(|_| TrainingError::Worker("a micro-batch panicked".to_owned()))?;
            results.extend(part?);
        }
        results.sort_unstable_by_key(|(i, _)| *i);
        Ok(results.into_iter().map(|(_, result)| result).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_the_order_of_the_jobs() {
        let workers = Workers::per_core().unwrap();
        let jobs: Vec<u64> = (0..57).collect();
        let mut seen = 0;
        let squares = workers
            .map(&jobs, |j| Ok(j * j), |n| seen = seen.max(n))
            .unwrap();
        assert_eq!(squares, jobs.iter().map(|j| j * j).collect::<Vec<_>>());
        assert_eq!(seen, 57);
    }

    #[test]
    fn an_error_is_passed_on() {
        let workers = Workers::per_core().unwrap();
        let fail = |j: &u8| {
            if *j == 3 {
                Err(TrainingError::Worker("three".into()))
            } else {
                Ok(*j)
            }
        };
        assert!(workers.map(&[1, 2, 3, 4], fail, |_| ()).is_err());
    }
}
