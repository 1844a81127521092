package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/dirigo-lb/dirigo/conf"
)

// at is a client of h.
func at(t *testing.T, h http.HandlerFunc) *Client {
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return &Client{path: srv.URL, base: srv.URL}
}

func someChanges(n int) (list []*Change) {
	for i := range n {
		k := conf.ServiceKey{Fwmark: uint32(i + 1)}
		list = append(list, &Change{Op: OpDeleteService, Key: &k})
	}
	return list
}

// What a client sends is one JSON value, and what is read of it is what was given.
func TestChangesArriveAsTheyWereGiven(t *testing.T) {
	for _, whole := range []bool{false, true} {
		for _, n := range []int{1, 2, 5000} {
			list := someChanges(n)
			c := at(t, func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err != nil {
					t.Error(err)
				}
				var all Changes
				if err := json.Unmarshal(body, &all); err != nil {
					t.Error(err)
				}
				var each []*Change
				got, err := DecodeChanges(bytes.NewReader(body), func(c *Change) { each = append(each, c) })
				if err != nil || got != whole || all.Whole != whole {
					t.Errorf("whole %v, %v, %v", got, all.Whole, err)
				}
				if len(all.Changes) != n || !reflect.DeepEqual(each, list) || !reflect.DeepEqual(&all.Changes[n-1], list[n-1]) {
					t.Errorf("%d and %d of %d changes", len(all.Changes), len(each), n)
				}
				io.WriteString(w, `{"refused":[{"index":0,"kind":"exists","reason":"r"}]}`)
			})
			out, err := c.Changes(whole, slices.Values(list))
			if err != nil || len(out.Refused) != 1 || !errors.Is(out.Refused[0].Err(), conf.ErrExists) {
				t.Errorf("%+v, %v", out, err)
			}
		}
	}
}

func TestNoChangesAskNobody(t *testing.T) {
	c := at(t, func(http.ResponseWriter, *http.Request) { t.Error("asked") })
	if out, err := c.Changes(true, slices.Values([]*Change{})); err != nil || out.Refused != nil {
		t.Error(out, err)
	}
}

// A director that answers before it has read all ends a list that would never end, and so
// does one that is not there.
func TestEarlyAnswerEndsTheList(t *testing.T) {
	endless := func(yield func(*Change) bool) {
		for c := someChanges(1)[0]; yield(c); {
		}
	}
	c := at(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusConflict)
		io.WriteString(w, `{"error":"busy"}`)
	})
	var refused *RefusedError
	if _, err := c.Changes(false, endless); !errors.As(err, &refused) || refused.Error() != "busy" {
		t.Error(err)
	}
	gone := NewClient(t.TempDir() + "/none")
	if _, err := gone.Changes(false, endless); !errors.Is(err, ErrUnreachable) {
		t.Error(err)
	}
}

func TestDecodeChangesIsStrict(t *testing.T) {
	const one = `{"op":"clear"}`
	for _, c := range []struct {
		in, wrong string
		n         int
	}{
		{`{}`, "", 0},
		{`{"changes":[]}`, "", 0},
		{`{"changes":[` + one + `],"whole":true}`, "", 1},
		{" {\"whole\" : false , \"changes\" : [" + one + "," + one + "] } \n", "", 2},
		{``, "unexpected EOF", 0},
		{`[]`, "[ where { is expected", 0},
		{`7`, "7 where { is expected", 0},
		{`{"changes":{}}`, "{ where [ is expected", 0},
		{`{"changes":[` + one, "EOF", 1},
		{`{"changes":[` + one + `,{"op":"cle`, "unexpected EOF", 1},
		{`{"changes":[` + one + `]`, "EOF", 1},
		{`{"changes":[` + one + one + `]}`, "expected comma", 1},
		{`{"changes":[{"op":"clear","what":1}]}`, `unknown field "what"`, 0},
		{`{"hole":true}`, `unknown field "hole"`, 0},
		{`{"whole":1}`, "cannot unmarshal number", 0},
		{`{"changes":[` + one + `]} {}`, "more than one JSON value", 1},
		{`{"changes":[` + one + `]}x`, "invalid character", 1},
	} {
		n := 0
		_, err := DecodeChanges(strings.NewReader(c.in), func(*Change) { n++ })
		if n != c.n || (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%s: %d changes, %v; want %d, %q", c.in, n, err, c.n, c.wrong)
		}
	}
}

// What is read piece by piece is what is read as a whole.
func FuzzDecodeChanges(f *testing.F) {
	f.Add([]byte(`{"whole":true,"changes":[{"op":"add_server","service":"tcp/192.0.2.1:80","server":{"address":"10.0.0.1:80","forward":"nat","weight":1}}]}`))
	f.Add([]byte(`{"changes":[{"op":"zero"},{"op":"set_sysctl","name":"a","value":"b"}]}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		var each []Change
		whole, err := DecodeChanges(bytes.NewReader(in), func(c *Change) { each = append(each, *c) })
		if err != nil {
			return
		}
		var all Changes
		if err := json.Unmarshal(in, &all); err != nil {
			t.Fatalf("as a whole: %v", err)
		}
		if bytes.Count(in, []byte(`"changes"`)) > 1 || bytes.Count(in, []byte(`"whole"`)) > 1 {
			return // the last one of a key counts there
		}
		if whole != all.Whole || len(each) != len(all.Changes) || len(each) > 0 && !reflect.DeepEqual(each, all.Changes) {
			t.Fatalf("%+v, as a whole %+v", each, all.Changes)
		}
	})
}

// An edit that says nothing of redispatch leaves it alone, as one by ipvsadm does; one that
// says 0 turns it off.
func TestRedispatchOfEdits(t *testing.T) {
	for _, c := range []struct {
		wire string
		want int
	}{
		{`{"op":"edit_service","definition":{"service":"tcp/192.0.2.1:80"}}`, conf.SameRedispatch},
		{`{"op":"edit_service","definition":{"service":"tcp/192.0.2.1:80","redispatch":0}}`, 0},
		{`{"op":"edit_service","definition":{"service":"tcp/192.0.2.1:80","redispatch":2}}`, 2},
		{`{"op":"add_service","definition":{"service":"tcp/192.0.2.1:80"}}`, 0},
		{`{"op":"add_service","definition":{"service":"tcp/192.0.2.1:80","redispatch":2}}`, 2},
	} {
		var in Change
		if err := json.Unmarshal([]byte(c.wire), &in); err != nil {
			t.Fatal(err)
		}
		change, err := in.Conf()
		if err != nil {
			t.Fatal(err)
		}
		got := 0
		switch change := change.(type) {
		case conf.EditService:
			got = change.Service.Redispatch
		case conf.AddService:
			got = change.Service.Redispatch
		}
		back, err := ChangeOf(change)
		if err != nil {
			t.Fatal(err)
		}
		again, err := back.Conf()
		if got != c.want || err != nil || !reflect.DeepEqual(again, change) {
			t.Errorf("%s: %d, want %d; sent on it is %+v, %v", c.wire, got, c.want, again, err)
		}
	}
}
