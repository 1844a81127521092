package realserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// state is the file that remembers what was changed, for the case that the process is
// killed. Whoever has it locked is alive.
type state struct {
	file *os.File
	left record // what a killed process had written
}

// record is the file's content.
type record struct {
	PID     int      `json:"pid"`
	Changes []Change `json:"changes"`
}

// errNoState says that nothing was left behind.
var errNoState = errors.New("nothing to undo")

// openState opens and locks the state file of this network namespace. Without create it
// is errNoState when there is none.
func openState(dir string, create bool) (*state, error) {
	id, err := namespaceID()
	if err != nil {
		return nil, err
	}
	flags := os.O_RDWR
	if create {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("state directory: %w", err)
		}
		flags |= os.O_CREATE
	}
	f, err := os.OpenFile(filepath.Join(dir, fmt.Sprintf("realserver-%d.json", id)), flags, 0o600)
	if !create && errors.Is(err, os.ErrNotExist) {
		return nil, errNoState
	}
	if err != nil {
		return nil, fmt.Errorf("state file: %w", err)
	}
	s := &state{file: f}
	lockErr := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	data, err := io.ReadAll(f)
	if err == nil && len(data) > 0 {
		err = json.Unmarshal(data, &s.left)
	}
	switch {
	case errors.Is(lockErr, unix.EWOULDBLOCK):
		err = fmt.Errorf("dirigo realserver runs here already, process %d: end it with SIGTERM", s.left.PID)
	case lockErr != nil:
		err = fmt.Errorf("lock %s: %w", f.Name(), lockErr)
	case err != nil:
		err = fmt.Errorf("state file %s: %w", f.Name(), err)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return s, nil
}

// write remembers changes, on disk before they are made.
func (s *state) write(changes []Change) error {
	data, err := json.Marshal(record{os.Getpid(), changes})
	if err == nil {
		err = s.file.Truncate(0)
	}
	if err == nil {
		_, err = s.file.WriteAt(data, 0)
	}
	if err == nil {
		err = s.file.Sync()
	}
	if err != nil {
		return fmt.Errorf("state file: %w", err)
	}
	return nil
}

// remove forgets everything. The lock goes with the file.
func (s *state) remove() error {
	return errors.Join(os.Remove(s.file.Name()), s.file.Close())
}

// namespaceID names the calling thread's network namespace by its cookie, which the
// kernel never uses again until it boots (SO_NETNS_COOKIE, Linux 5.14); before that by
// its inode.
func namespaceID() (uint64, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(fd)
	if id, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE); err == nil {
		return id, nil
	}
	var st unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &st); err != nil {
		return 0, fmt.Errorf("network namespace: %w", err)
	}
	return st.Ino, nil
}
