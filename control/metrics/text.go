package metrics

import (
	"io"
	"strconv"
)

// textWriter writes samples in Prometheus's text format, some kilobytes at a time.
type textWriter struct {
	w    io.Writer
	text []byte // what spans are of
	buf  []byte
	err  error
}

// writeSize is how much is written at a time.
const writeSize = 64 << 10

// writeFamily writes a family with its samples; one without samples is left out.
func writeFamily[T any](t *textWriter, f *family[T], samples []T, labels func(*T) span) {
	if len(samples) == 0 || t.err != nil {
		return
	}
	t.buf = append(t.buf, "# HELP "+f.name+" "+f.help+"\n# TYPE "+f.name+" "+f.kind+"\n"...)
	for i := range samples {
		s := &samples[i]
		at := labels(s)
		t.buf = append(t.buf, f.name...)
		t.buf = append(t.buf, t.text[at.from:at.to]...)
		t.buf = strconv.AppendUint(t.buf, f.value(s), 10)
		t.buf = append(t.buf, '\n')
		if len(t.buf) > writeSize {
			if t.flush() != nil {
				return
			}
		}
	}
}

func (t *textWriter) flush() error {
	if t.err == nil {
		_, t.err = t.w.Write(t.buf)
	}
	t.buf = t.buf[:0]
	return t.err
}
