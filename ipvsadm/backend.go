package ipvsadm

import (
	"errors"
	"iter"
	"syscall"

	"github.com/dirigo-lb/dirigo/conf"
)

// A Backend is the director as the program sees it; where it is, is the Backend's
// business. It is used by one goroutine. Where an error is the director's refusal it is,
// or wraps, a sentinel of conf or a syscall.Errno: what a kernel would have answered.
// A director that cannot be reached is the *Error of Unreachable.
type Backend interface {
	// Change carries out commands in order, each completely or not at all, whatever became
	// of those before it; the outcome is that of giving them one at a time, and it may
	// take effect at once for all. errs has the refusal of each command, nil where there
	// is none; it may be shorter. err says that the director did not answer, and nothing
	// is known then about the commands; only then some of them are not asked for. They
	// are read from the input one by one, are neither OpList, OpSave, OpRestore, OpHelp
	// nor OpVersion, and belong to the Backend.
	Change(commands iter.Seq[*Command]) (errs []error, err error)

	// Services gives the services, or the one named: conf.ErrNoService if there is none.
	// Its order is the director's, and --nosort shows it. A service with many servers may
	// come as several entries, one right after the other, each with some of its servers.
	// An error is the last thing given.
	Services(only *conf.ServiceKey) iter.Seq2[ServiceEntry, error]

	// Conns gives the connections and templates, in any order. An error is the last
	// thing given.
	Conns() iter.Seq2[ConnEntry, error]

	// Info gives the rest of what listings show.
	Info() (Info, error)
}

// Info is what a listing shows beside services and connections.
type Info struct {
	TableSize int // of the connection table, in hash rows
	Timeouts  Timeouts
	Daemons   []Daemon // those running, at most one of each role
}

// refusalOf words what a Backend answered.
func refusalOf(op Op, err error) *Error {
	var told *Error
	if errors.As(err, &told) {
		return told
	}
	if errno, ok := Errno(err); ok {
		return Refused(op, errno)
	}
	return Unreachable(err.Error())
}

// Errno is what a kernel would have answered for a refusal of the director; ok is false
// for an error that is none. Broken rules of a desired state are often of two kinds: the
// more particular one counts.
func Errno(err error) (errno syscall.Errno, ok bool) {
	for _, kind := range []struct {
		err   error
		errno syscall.Errno
	}{
		{conf.ErrExists, syscall.EEXIST},
		{conf.ErrNoService, syscall.ESRCH},
		{conf.ErrNoServer, syscall.ENOENT},
		{conf.ErrNoScheduler, syscall.ENOENT},
		{conf.ErrRange, syscall.ERANGE},
		{conf.ErrInvalid, syscall.EINVAL},
	} {
		if errors.Is(err, kind.err) {
			return kind.errno, true
		}
	}
	ok = errors.As(err, &errno)
	return errno, ok
}
