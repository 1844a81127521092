package ipvsadm

import (
	"iter"
	"syscall"

	"github.com/dirigo-lb/dirigo/conf"
)

// list prints what -L asks for.
func (r *runner) list(cmd *Command) *Error {
	p := NewPrinter(r.Out, cmd.List, r.env.Namer)
	switch {
	case cmd.List.Connections:
		var s source[ConnEntry]
		err := p.Conns(s.until(r.director.Conns()))
		return s.outcome(err)
	case cmd.HasKey:
		return r.listOne(p, &cmd.Key)
	}
	info, err := r.director.Info()
	switch {
	case err != nil:
		return refusalOf(OpList, err)
	case cmd.List.Timeout:
		return written(WriteTimeouts(r.Out, info.Timeouts))
	case cmd.List.Daemon:
		return written(WriteDaemons(r.Out, info.Daemons))
	}
	var s source[ServiceEntry]
	err = p.Services(info.TableSize, s.until(r.director.Services(nil)))
	return s.outcome(err)
}

// listOne prints one service, and nothing at all if there is none.
func (r *runner) listOne(p *Printer, key *conf.ServiceKey) *Error {
	var s source[ServiceEntry]
	all := whole(s.until(r.director.Services(key)))
	switch {
	case s.err != nil:
		return s.outcome(nil)
	case len(all) == 0:
		return Refused(OpList, syscall.ESRCH)
	}
	return written(p.Service(&all[0]))
}

// save prints the rules.
func (r *runner) save(cmd *Command) *Error {
	var s source[ServiceEntry]
	err := NewPrinter(r.Out, cmd.List, r.env.Namer).Save(s.until(r.director.Services(nil)))
	return s.outcome(err)
}

// source is a sequence of the director with the error that ended it.
type source[T any] struct{ err error }

func (s *source[T]) until(seq iter.Seq2[T, error]) iter.Seq[T] {
	return func(yield func(T) bool) {
		for v, err := range seq {
			if s.err = err; err != nil || !yield(v) {
				return
			}
		}
	}
}

// outcome is the director's error, or else that of printing.
func (s *source[T]) outcome(print error) *Error {
	if s.err != nil {
		return refusalOf(OpList, s.err)
	}
	return written(print)
}
