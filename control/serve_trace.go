package control

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/dirigo-lb/dirigo/control/api"
	"github.com/dirigo-lb/dirigo/dataplane"
)

// traceBuffer is how many journeys wait for a slow reader; more are left out.
const traceBuffer = 4096

// serveTrace mounts traces, captures, and the end of both.
func (d *Director) serveTrace(mux *http.ServeMux) {
	mux.HandleFunc("GET /v1/trace", d.trace)
	mux.HandleFunc("GET /v1/capture", d.capture)
	d.streams.serve(mux)
}

// trace streams the journeys of the frames that the query asks for. The watcher goes
// with the request.
func (d *Director) trace(w http.ResponseWriter, r *http.Request) {
	s, err := d.newSieve(r.URL.Query())
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	buffer := newFeed[*journey](traceBuffer, 1<<62)
	stop := d.plane.Watch(&dataplane.Watcher{Wants: s.wants, Told: func(e *dataplane.Event) {
		if s.keeps(e) && buffer.room(0) {
			buffer.put(newJourney(e), 0)
		}
	}})
	ctx, done := d.streams.begin(w, r, "application/x-ndjson", s.duration)
	defer done()
	out := json.NewEncoder(w)
	told := follow(ctx, w, buffer, s.count, stop, func(j *journey) error { return out.Encode(api.TraceLine{Journey: d.wire(j)}) })
	dropped := buffer.dropped.Load()
	_ = out.Encode(api.TraceLine{End: &api.TraceEnd{Told: told, Dropped: dropped}}) // the client may have gone
	w.Header().Set(api.HeaderDropped, strconv.FormatUint(dropped, 10))
}

// follow writes what comes from a feed until ctx ends, count is reached (0: never), or
// the reader has gone, and returns how many. It ends with stop, which keeps more from
// coming, and what has come before that is written too.
func follow[T any](ctx context.Context, w http.ResponseWriter, f *feed[T], count int, stop func(), write func(T) error) (told int) {
	defer stop()
	flush, ended := http.NewResponseController(w), false
	for count == 0 || told < count {
		if !ended && ctx.Err() != nil {
			ended = true
			stop()
		}
		var item T
		select {
		case item = <-f.items:
		default:
			if ended || flush.Flush() != nil {
				return told
			}
			select {
			case item = <-f.items:
			case <-ctx.Done():
				continue
			}
		}
		if write(item) != nil {
			return told
		}
		told++
	}
	return told
}
