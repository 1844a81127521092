package api

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
)

// Changes is the body of POST /v1/changes. A restore has a hundred thousand of them, so both
// ends work at the list while it comes: see Client.Changes and DecodeChanges.
type Changes struct {
	// Whole makes all of them, or none with every reason. Else each is made on its own, in
	// order, whatever became of those before.
	Whole   bool     `json:"whole"`
	Changes []Change `json:"changes"`
}

// Changes has a list of changes made. What it sends is not complete before the list is over,
// and an incomplete one changes nothing. Nobody is asked to make a list of none.
func (c *Client) Changes(whole bool, list iter.Seq[*Change]) (out ChangesReply, err error) {
	next, stop := iter.Pull(list)
	defer stop()
	first, some := next()
	if !some {
		return out, nil
	}
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := c.exchange(http.MethodPost, "/v1/changes", r, &out)
		_ = r.Close() // ends a list that nobody reads to its end
		done <- err
	}()
	err = encodeChanges(w, whole, first, next)
	_ = w.CloseWithError(err) // nil is the end
	if refused := <-done; refused != nil {
		return out, refused
	}
	return out, err
}

func encodeChanges(w io.Writer, whole bool, c *Change, next func() (*Change, bool)) error {
	b := bufio.NewWriterSize(w, 1<<16)
	e := json.NewEncoder(b)
	fmt.Fprintf(b, `{"whole":%t,"changes":[`, whole) // b keeps its first error
	for sep, more := "", true; more; c, more = next() {
		b.WriteString(sep)
		if err := e.Encode(c); err != nil {
			return err
		}
		sep = ","
	}
	b.WriteString("]}")
	return b.Flush()
}

// DecodeChanges reads a Changes from r, strictly, and gives each change to each as it comes;
// it keeps none of them.
func DecodeChanges(r io.Reader, each func(*Change)) (whole bool, err error) {
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if err := expect(d, json.Delim('{')); err != nil {
		return false, err
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return false, err
		}
		switch key {
		case "whole":
			err = d.Decode(&whole)
		case "changes":
			err = decodeList(d, each)
		default:
			err = fmt.Errorf("json: unknown field %q", key)
		}
		if err != nil {
			return false, err
		}
	}
	if err := expect(d, json.Delim('}')); err != nil {
		return false, err
	}
	if _, err := d.Token(); err != io.EOF {
		return false, cmp.Or(err, errors.New("there is more than one JSON value"))
	}
	return whole, nil
}

func decodeList(d *json.Decoder, each func(*Change)) error {
	if err := expect(d, json.Delim('[')); err != nil {
		return err
	}
	for d.More() {
		var c Change
		if err := d.Decode(&c); err != nil {
			return err
		}
		each(&c)
	}
	return expect(d, json.Delim(']'))
}

func expect(d *json.Decoder, want json.Delim) error {
	switch got, err := d.Token(); {
	case err == io.EOF:
		return io.ErrUnexpectedEOF
	case err != nil:
		return err
	case got != want:
		return fmt.Errorf("%v where %v is expected", got, want)
	}
	return nil
}
