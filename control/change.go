package control

import (
	"errors"

	"github.com/dirigo-lb/dirigo/conf"
)

// Change makes changes of the running state: each on its own, in order, whatever became
// of those before it, or, if whole, all or none. errs has the refusal of each, nil where
// there is none.
func (d *Director) Change(changes []conf.Change, whole bool) (errs []error, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, errors.New("nothing was changed: the director is stopping")
	}
	e := conf.NewEditor(d.cfg)
	errs = make([]error, len(changes))
	refused := false
	for i, c := range changes {
		errs[i] = e.Do(c)
		refused = refused || errs[i] != nil
	}
	if whole && refused {
		return errs, nil
	}
	next, err := e.Config()
	if err != nil {
		return errs, err
	}
	for i, c := range changes {
		if errs[i] == nil {
			errs[i] = d.do(c)
		}
	}
	d.cfg = next
	d.configure(next)
	d.publish(next)
	d.updateHost(next)
	return errs, nil
}
