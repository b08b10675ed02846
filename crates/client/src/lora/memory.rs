//! What a trainer remembers of a task from round to round, on disk.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use undertone_protocol::id::{RoundId, TaskId};
use undertone_training::Control;

use super::LoraError;

/// SCAFFOLD's control variate of one client in one task.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) task: TaskId,
    pub(super) control: Control,
    /// The round whose update is not settled yet.
    pub(super) round: Option<RoundId>,
    path: PathBuf,
}

impl Memory {
    /// What is in the folder; nothing at the start.
    pub(super) fn load(folder: &Path, task: TaskId) -> Result<Self, LoraError> {
        let path = folder.join(format!("control-{task}"));
        let mut memory = Self {
            task,
            control: Control::default(),
            round: None,
            path,
        };
        let bytes = match fs::read(&memory.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(memory),
            Err(error) => return Err(memory.failed(error)),
        };
        let cut_off = || memory.failed(ErrorKind::UnexpectedEof.into());
        let (round, control) = bytes.split_first_chunk::<32>().ok_or_else(cut_off)?;
        memory.control = Control::from_bytes(control)?;
        memory.round = memory.control.is_unsettled().then(|| RoundId::from(*round));
        Ok(memory)
    }

    /// Writes it beside the file and renames, synced: after a crash it is the old or the new.
    pub(super) fn save(&self) -> Result<(), LoraError> {
        let partial = self.path.with_extension("partial");
        let write = || {
            if let Some(folder) = self.path.parent() {
                fs::create_dir_all(folder)?;
            }
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut file = options.open(&partial)?;
            let round = self.round.map_or([0; 32], |round| *round.as_bytes());
            file.write_all(&round)?;
            file.write_all(&self.control.to_bytes())?;
            file.sync_all()?;
            fs::rename(&partial, &self.path)?;
            match self.path.parent() {
                Some(folder) => File::open(folder)?.sync_all(),
                None => Ok(()),
            }
        };
        write().map_err(|error| self.failed(error))
    }

    fn failed(&self, source: std::io::Error) -> LoraError {
        LoraError::Memory {
            path: self.path.clone(),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(unsettled: bool, value: f32) -> Control {
        let one = 1_u64.to_le_bytes();
        let values = if unsettled {
            vec![value, 2.0]
        } else {
            vec![value]
        };
        let values = values.into_iter().flat_map(f32::to_le_bytes);
        let bytes: Vec<u8> = [u8::from(unsettled)]
            .into_iter()
            .chain(one)
            .chain(values)
            .collect();
        Control::from_bytes(&bytes).unwrap()
    }

    #[test]
    fn what_is_kept_is_there_again_by_task_and_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("state");
        let (task, other) = (TaskId::from([1; 16]), TaskId::from([2; 16]));
        let mut memory = Memory::load(&folder, task).unwrap();
        assert_eq!((memory.round, &memory.control), (None, &Control::default()));
        memory.control = control(true, 5.0);
        memory.round = Some(RoundId::from([7; 32]));
        memory.save().unwrap();
        let mut again = Memory::load(&folder, task).unwrap();
        assert_eq!(again.round, memory.round);
        assert_eq!(again.control, memory.control);
        assert_eq!(Memory::load(&folder, other).unwrap().round, None);
        again.control.settle(true);
        again.round = None;
        again.save().unwrap();
        let settled = Memory::load(&folder, task).unwrap();
        assert_eq!(
            (settled.round, settled.control),
            (None, control(false, 2.0))
        );
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(&again.path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        fs::write(&again.path, [0; 20]).unwrap();
        assert!(matches!(
            Memory::load(&folder, task),
            Err(LoraError::Memory { .. })
        ));
    }
}
