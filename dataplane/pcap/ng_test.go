package pcap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"time"
)

// What is written reads back by pcapgo; comments are found by counting bytes, as pcapgo
// does not give them.
func TestCommentedReadsBack(t *testing.T) {
	var out bytes.Buffer
	at := time.Unix(1_700_000_000, 123456789)
	w, err := NewCommented(&out, []Port{{"eth0", true}, {"dirigo0", false}}, 64)
	if err != nil {
		t.Fatal(err)
	}
	frames := [][]byte{bytes.Repeat([]byte{1}, 61), bytes.Repeat([]byte{2}, 40)}
	comments := []string{"received; drop no_dest: x", "y"}
	for i, f := range frames {
		if err := w.Write(at, i, Inbound, f, 100, comments[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Dropped(at, 7); err != nil {
		t.Fatal(err)
	}
	r, err := NewReader(bytes.NewReader(out.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range frames {
		rec, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if i == 1 { // of a port without Ethernet
			f = append(append(make([]byte, 12), 0x08, 0), f...)
		}
		if !bytes.Equal(rec.Data, f) || !rec.Time.Equal(at) || rec.Interface != []string{"eth0", "dirigo0"}[i] || !rec.L2 || !rec.Truncated {
			t.Errorf("frame %d: %+v", i, rec)
		}
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last frame: %v", err)
	}
	var found []string
	for b := out.Bytes(); len(b) > 0; {
		kind, n := binary.NativeEndian.Uint32(b), binary.NativeEndian.Uint32(b[4:])
		if n%4 != 0 || int(n) > len(b) || binary.NativeEndian.Uint32(b[n-4:]) != n {
			t.Fatalf("a block of length %d, %d are left", n, len(b))
		}
		if kind == 6 {
			o := 28 + (binary.NativeEndian.Uint32(b[20:])+3)&^3
			if binary.NativeEndian.Uint16(b[o:]) == 1 {
				found = append(found, string(b[o+4:o+4+uint32(binary.NativeEndian.Uint16(b[o+2:]))]))
			}
		}
		b = b[n:]
	}
	if len(found) != 2 || found[0] != comments[0] || found[1] != comments[1] {
		t.Errorf("comments %q, want %q", found, comments)
	}
}
