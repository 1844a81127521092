package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// prefix starts the names of all that a test process makes outside itself: namespaces
// and its directory. The process's id and start time follow, so that a leftover is told
// from what a living process uses, even when ids have been used again.
const prefix = "dirigo-lab-"

const netnsDir = "/run/netns" // where ip-netns(8) keeps namespaces

var serial atomic.Uint32

// owner is the part of names that stands for this process.
func owner() string { return fmt.Sprintf("%s%d-%s-", prefix, os.Getpid(), startTime(os.Getpid())) }

// startTime is field 22 of /proc/PID/stat, in clock ticks after boot; "" if there is no
// such process.
func startTime(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	// The second field is the command's name in brackets and may hold spaces.
	rest := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(rest) < 20 {
		return ""
	}
	return rest[19]
}

// abandoned reports whether name belongs to a process that is no more.
func abandoned(name string) bool {
	rest, ok := strings.CutPrefix(name, prefix)
	parts := strings.SplitN(rest, "-", 3)
	if !ok || len(parts) < 2 {
		return false
	}
	pid, err := strconv.Atoi(parts[0])
	return err == nil && startTime(pid) != parts[1]
}

// dirRoot is memory where there is such a file system: payloads of a gigabyte need not
// go to a disk.
func dirRoot() string {
	if s, err := os.Stat("/dev/shm"); err == nil && s.IsDir() {
		return "/dev/shm"
	}
	return os.TempDir()
}

// Dir is this process's directory for files shared between tests. Sweep(true) removes it.
func Dir() (string, error) {
	dir := filepath.Join(dirRoot(), owner()+"dir")
	return dir, os.MkdirAll(dir, 0o755)
}

// Sweep removes what dead test processes left, and with own also what this one made:
// processes in its namespaces, the namespaces, its directory.
func Sweep(own bool) (err error) {
	gone := func(name string) bool { return abandoned(name) || own && strings.HasPrefix(name, owner()) }
	spaces, e := os.ReadDir(netnsDir)
	if e != nil && !errors.Is(e, os.ErrNotExist) {
		err = e
	}
	for _, s := range spaces {
		if gone(s.Name()) {
			err = errors.Join(err, remove(s.Name()))
		}
	}
	dirs, e := os.ReadDir(dirRoot())
	err = errors.Join(err, e)
	for _, d := range dirs {
		if gone(d.Name()) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dirRoot(), d.Name())))
		}
	}
	return err
}

// remove ends the processes in a namespace and deletes it.
func remove(name string) error {
	out, err := output("ip", "netns", "pids", name)
	if err != nil {
		return err
	}
	for _, f := range strings.Fields(out) {
		// A thread of this process may be visiting.
		if pid, err := strconv.Atoi(f); err == nil && pid != os.Getpid() {
			_ = unix.Kill(pid, unix.SIGKILL) // it may have ended meanwhile
		}
	}
	_, err = output("ip", "netns", "del", name)
	return err
}
