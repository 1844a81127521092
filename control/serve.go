package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/dirigo-lb/dirigo/control/api"
)

// routes are all the handlers of the control API, by what they are about. A handler may
// run beside others and beside the workers.
func (d *Director) routes() *http.ServeMux {
	mux := http.NewServeMux()
	d.serveStatus(mux)
	d.serveState(mux)
	d.serveConns(mux)
	d.serveConfig(mux)
	d.serveMetrics(mux)
	d.serveSettings(mux)
	d.serveLists(mux)
	d.serveTrace(mux)
	d.serveDrain(mux)
	d.serveHealth(mux)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, http.StatusNotFound, fmt.Errorf("%s %s: there is no such thing in /v1", r.Method, r.URL.Path))
	})
	return mux
}

// serve answers requests on the control socket until ctx ends.
func (d *Director) serve(ctx context.Context, l net.Listener) error {
	return d.serveOn(ctx, l, "control socket", d.routes())
}

// reply answers with v as JSON.
func reply(w http.ResponseWriter, v any) { replyAs(w, http.StatusOK, v) }

func replyAs(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(v) // the client has gone
}

// fail answers with what went wrong.
func fail(w http.ResponseWriter, status int, err error) {
	replyAs(w, status, api.Problem{Error: err.Error()})
}

// stream answers with a stream of JSON values, one a line, written as they come.
type stream struct {
	*json.Encoder
	ctx context.Context
}

func newStream(w http.ResponseWriter, r *http.Request) *stream {
	w.Header().Set("Content-Type", "application/x-ndjson")
	return &stream{json.NewEncoder(w), r.Context()}
}

// put writes one value and reports whether to go on: the client may have gone.
func (s *stream) put(v any) bool { return s.ctx.Err() == nil && s.Encode(v) == nil }

// maxBody bounds a request in bytes: twice the largest batch that ipvsadm -R sends.
const maxBody = 64 << 20

// body decodes a request's JSON, strictly: an unknown key is a mistake somebody should
// hear of, and what follows the value is one that was not meant so.
func body(r *http.Request, v any) error {
	return bounded(r, func(in io.Reader) error {
		d := json.NewDecoder(in)
		d.DisallowUnknownFields()
		err := d.Decode(v)
		if err == nil && d.Decode(&struct{}{}) != io.EOF {
			err = errors.New("there is more than one JSON value")
		}
		return err
	})
}

// bounded reads a request's body, up to maxBody.
func bounded(r *http.Request, read func(io.Reader) error) error {
	err := read(http.MaxBytesReader(nil, r.Body, maxBody))
	if long := (*http.MaxBytesError)(nil); errors.As(err, &long) {
		err = fmt.Errorf("more than %d MiB", maxBody>>20)
	}
	if err != nil {
		// A client that is still writing would see a broken pipe before our words.
		_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, maxBody))
		return fmt.Errorf("request: %w", err)
	}
	return nil
}
