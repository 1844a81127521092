package control

import (
	"fmt"
	"net/http"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/control/api"
	"github.com/dirigo-lb/dirigo/dataplane"
)

// serveState mounts services and their changes.
func (d *Director) serveState(mux *http.ServeMux) {
	mux.HandleFunc("GET /v1/services", d.services)
	mux.HandleFunc("POST /v1/changes", d.changes)
	mux.HandleFunc("POST /v1/reload", func(w http.ResponseWriter, _ *http.Request) {
		changes, err := d.Reload()
		if err != nil {
			fail(w, http.StatusUnprocessableEntity, err)
			return
		}
		r := api.ReloadReply{Changes: []string{}}
		for _, c := range changes {
			r.Changes = append(r.Changes, c.String())
		}
		reply(w, r)
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
	var in api.Changes
	if err := body(r, &in); err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	out := api.ChangesReply{}
	var list []conf.Change
	var at []int // of each in the request
	flush := func() error {
		if len(list) == 0 {
			return nil
		}
		errs, err := d.Change(list, in.Whole)
		for i, e := range errs {
			if e != nil {
				out.Refused = append(out.Refused, api.Refuse(at[i], e))
			}
		}
		list, at = nil, nil
		return err
	}
	for i := range in.Changes {
		c := &in.Changes[i]
		change, err := c.Conf()
		switch {
		case err != nil:
			out.Refused = append(out.Refused, api.Refuse(i, err))
		case change != nil:
			list, at = append(list, change), append(at, i)
		case in.Whole:
			out.Refused = append(out.Refused, api.Refuse(i, fmt.Errorf("zero cannot be undone, so it is no part of a whole: %w", conf.ErrInvalid)))
		default:
			if err := flush(); err != nil {
				fail(w, http.StatusConflict, err)
				return
			}
			if err := d.plane.Zero(c.Key); err != nil {
				out.Refused = append(out.Refused, api.Refuse(i, err))
			}
		}
	}
	if in.Whole && len(out.Refused) > 0 { // what cannot be meant spoils the whole before it is tried
		out.Error = fmt.Sprintf("nothing was changed: %d of %d changes cannot be made", len(out.Refused), len(in.Changes))
		replyAs(w, http.StatusUnprocessableEntity, out)
		return
	}
	if err := flush(); err != nil {
		fail(w, http.StatusConflict, err)
		return
	}
	if in.Whole && len(out.Refused) > 0 {
		out.Error = fmt.Sprintf("nothing was changed: %d of %d changes cannot be made", len(out.Refused), len(in.Changes))
		replyAs(w, http.StatusUnprocessableEntity, out)
		return
	}
	reply(w, out)
}
