package control

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/control/api"
	"github.com/dirigo-lb/dirigo/dataplane"
)

// serveState mounts services and their changes.
func (d *Director) serveState(mux *http.ServeMux) {
	mux.HandleFunc("GET /v1/services", d.services)
	mux.HandleFunc("POST /v1/changes", d.changes)
	mux.HandleFunc("POST /v1/reload", func(w http.ResponseWriter, r *http.Request) {
		result, err := d.Reload(r.URL.Query().Has("discard"))
		if err != nil {
			fail(w, http.StatusUnprocessableEntity, err)
			return
		}
		reply(w, api.ReloadReply{Changes: append([]string{}, result.Changes...), Conflicts: result.Conflicts})
	})
}

// services streams the services, one a line, in the order they were added;
// ?service=tcp/192.0.2.1:80 asks for one.
func (d *Director) services(w http.ResponseWriter, r *http.Request) {
	only, err := serviceParam(r)
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	if only == nil {
		out := newStream(w, r)
		d.plane.EachService(func(s *dataplane.ServiceStatus) bool { return out.put(serviceStatus(s)) })
		return
	}
	s, ok := d.plane.Service(*only)
	if !ok {
		fail(w, http.StatusNotFound, fmt.Errorf("%v: %w", only, conf.ErrNoService))
		return
	}
	newStream(w, r).put(serviceStatus(&s))
}

// serviceParam is the service that a request names, nil for none.
func serviceParam(r *http.Request) (*conf.ServiceKey, error) {
	name := r.URL.Query().Get("service")
	if name == "" {
		return nil, nil
	}
	k, err := conf.ParseServiceKey(name)
	if err != nil {
		return nil, fmt.Errorf("service: %w", err)
	}
	return &k, nil
}

// changes makes changes of the running state. A zero among them counts when it is its
// turn, so it parts the list.
func (d *Director) changes(w http.ResponseWriter, r *http.Request) {
	in := request{zeros: map[int]*conf.ServiceKey{}}
	err := bounded(r, func(body io.Reader) (err error) {
		in.whole, err = api.DecodeChanges(body, in.add)
		return err
	})
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	if in.whole {
		for _, i := range slices.Sorted(maps.Keys(in.zeros)) {
			in.refuse(i, fmt.Errorf("zero cannot be undone, so it is no part of a whole: %w", conf.ErrInvalid))
		}
	}
	if !in.spoilt() { // what cannot be meant spoils a whole before it is tried
		err = d.make(&in)
	}
	switch out := (api.ChangesReply{Refused: in.refused}); {
	case in.spoilt(): // err says so too, without the places
		out.Error = fmt.Sprintf("nothing was changed: %d of %d changes cannot be made", len(in.refused), len(in.list))
		replyAs(w, http.StatusUnprocessableEntity, out)
	case err != nil:
		fail(w, http.StatusConflict, err)
	default:
		reply(w, out)
	}
}

// request is a list of changes that somebody asks for.
type request struct {
	whole   bool
	list    []conf.Change            // nil for a zero and for what cannot be meant
	zeros   map[int]*conf.ServiceKey // nil: all services
	refused []api.Refusal
}

func (in *request) add(c *api.Change) {
	i := len(in.list)
	change, err := c.Conf()
	in.list = append(in.list, change)
	switch {
	case err != nil:
		in.refuse(i, err)
	case change == nil:
		in.zeros[i] = c.Key
	}
}

func (in *request) refuse(i int, err error) {
	in.refused = append(in.refused, api.Refuse(i, err))
}

// spoilt says that nothing of it can be.
func (in *request) spoilt() bool { return in.whole && len(in.refused) > 0 }

// make carries out a request, from one zero to the next.
func (d *Director) make(in *request) error {
	begin := 0
	for _, zero := range slices.Sorted(maps.Keys(in.zeros)) {
		if err := d.makePart(in, begin, zero); err != nil {
			return err
		}
		if err := d.plane.Zero(in.zeros[zero]); err != nil {
			in.refuse(zero, err)
		}
		begin = zero + 1
	}
	return d.makePart(in, begin, len(in.list))
}

func (d *Director) makePart(in *request, begin, end int) error {
	part := make([]conf.Change, 0, end-begin)
	at := make([]int, 0, end-begin) // of each in the request
	for i, c := range in.list[begin:end] {
		if c != nil {
			part, at = append(part, c), append(at, begin+i)
		}
	}
	if len(part) == 0 {
		return nil
	}
	errs, err := d.Change(part, in.whole)
	for i, e := range errs {
		if e != nil {
			in.refuse(at[i], e)
		}
	}
	return err
}
