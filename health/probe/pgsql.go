package probe

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"strings"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/health"
)

// pgsql logs in to PostgreSQL and asks a query, if there is one, that must give a row.
// Without a user it only asks whether the server has TLS, which every server answers.
// PostgreSQL's documentation, "Frontend/Backend Protocol", version 3.0.
type pgsql struct {
	to                       target
	tls                      secrecy
	user, password, database string
	query                    string
	scram                    scram // of this prober alone: remembers the last salt
}

// Request codes (src/include/libpq/pqcomm.h) and AuthenticationRequest codes (auth.h).
const (
	pgVersion3      = 3 << 16
	pgSSLRequest    = 1234<<16 | 5679
	pgAuthOK        = 0
	pgAuthClear     = 3
	pgAuthMD5       = 5
	pgAuthSASL      = 10
	pgAuthSASLMore  = 11
	pgAuthSASLFinal = 12
)

func newPgSQL(p *conf.Probe, to target) (asker, error) {
	s, err := newSecrecy(p, p.TLS.Mode, to)
	if err == nil {
		err = nulSafe("user, password, database or query", p.User, p.Password, p.Database, p.Query)
	}
	a := &pgsql{to: to, tls: s, user: p.User, password: p.Password, database: p.Database, query: p.Query}
	if a.database == "" {
		a.database = a.user
	}
	return a, err
}

func (a *pgsql) ask(ctx context.Context, r *health.Result) error {
	k, err := a.to.open(ctx, &secrecy{}, r)
	if err != nil {
		return err
	}
	defer k.Close()
	if a.tls.mode != conf.TLSOff || a.user == "" {
		if err := a.askTLS(ctx, k, r); err != nil || a.user == "" {
			return err
		}
	}
	start := binary.BigEndian.AppendUint32(make([]byte, 4), pgVersion3)
	for _, w := range []string{"user", a.user, "database", a.database, "application_name", "dirigo", ""} {
		start = append(append(start, w...), 0)
	}
	binary.BigEndian.PutUint32(start, uint32(len(start)))
	if _, err := k.Conn.Write(start); err != nil {
		return err
	}
	if err := a.login(k); err != nil {
		return err
	}
	if a.query != "" {
		if err := k.pgQuery(a.query); err != nil {
			return err
		}
	}
	return k.pgSend('X', nil)
}

// askTLS sends SSLRequest, and begins TLS if the probe wants it.
func (a *pgsql) askTLS(ctx context.Context, k *talk, r *health.Result) error {
	request := binary.BigEndian.AppendUint32([]byte{0, 0, 0, 8}, pgSSLRequest)
	if _, err := k.Conn.Write(request); err != nil {
		return err
	}
	has, err := k.ReadByte()
	switch {
	case err != nil:
		return err
	case has != 'S' && has != 'N':
		return fail(health.WhyProtocol, "not PostgreSQL's answer to SSLRequest: %s", quote([]byte{has}))
	case a.tls.mode == conf.TLSOff:
		return nil
	case has == 'N':
		return fail(health.WhyTLS, "the server has no TLS")
	}
	return k.encrypt(ctx, &a.tls, r)
}

// login answers what the server wants to know until it is ready for queries.
func (a *pgsql) login(k *talk) error {
	proved := false
	for {
		kind, b, err := k.pgMessage()
		switch {
		case err != nil:
			return err
		case kind == 'Z' && proved:
			return nil
		case kind == 'S' || kind == 'K': // a parameter; the key for cancelling
			continue
		case kind != 'R' || len(b) < 4 || proved:
			return fail(health.WhyProtocol, "not a step of a PostgreSQL login: %s", quote(b))
		}
		code, data := binary.BigEndian.Uint32(b), b[4:]
		switch {
		case code == pgAuthOK:
			proved = true
		case code == pgAuthClear:
			err = k.pgSend('p', append([]byte(a.password), 0))
		case code == pgAuthMD5 && len(data) == 4:
			inner := md5.Sum([]byte(a.password + a.user))
			outer := md5.Sum(append(hex.AppendEncode(nil, inner[:]), data...))
			err = k.pgSend('p', append(hex.AppendEncode([]byte("md5"), outer[:]), 0))
		case code == pgAuthSASL:
			if !bytes.Contains(data, []byte(scramName+"\x00")) {
				return fail(health.WhyLogin, "the server wants %s, want %s", quote(data), scramName)
			}
			first := a.scram.first()
			b := binary.BigEndian.AppendUint32([]byte(scramName+"\x00"), uint32(len(first)))
			err = k.pgSend('p', append(b, first...))
		case code == pgAuthSASLMore:
			var final string
			if final, err = a.scram.final(string(data), a.password); err == nil {
				err = k.pgSend('p', []byte(final))
			}
		case code == pgAuthSASLFinal:
			err = a.scram.verify(string(data))
		default:
			return fail(health.WhyLogin, "the server wants a kind of login that is not known here (%d)", code)
		}
		if err != nil {
			return err
		}
	}
}

// pgQuery wants at least one row.
func (k *talk) pgQuery(text string) error {
	if err := k.pgSend('Q', append([]byte(text), 0)); err != nil {
		return err
	}
	for {
		kind, b, err := k.pgMessage()
		if err != nil {
			return err
		}
		switch kind {
		case 'D':
			return nil
		case 'Z':
			return fail(health.WhyContent, "the query gives no rows")
		case 'T', 'C', 'I', 'S': // columns, end of a command, empty query, a parameter
		default:
			return fail(health.WhyProtocol, "not an answer to a PostgreSQL query: %c %s", kind, quote(b))
		}
	}
}

func (k *talk) pgSend(kind byte, b []byte) error {
	m := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(b)+4))
	_, err := k.Conn.Write(append(m, b...))
	return err
}

// pgMessage reads one message. Notices are passed over; an error is a failure.
func (k *talk) pgMessage() (kind byte, b []byte, err error) {
	for {
		h, err := k.frame(5)
		if err != nil {
			return 0, nil, err
		}
		n := binary.BigEndian.Uint32(h[1:])
		if h[0] < 'A' || h[0] > 'z' || n < 4 || n > 1<<30 { // src/include/utils/memutils.h: MaxAllocSize
			return 0, nil, fail(health.WhyProtocol, "not a PostgreSQL message: %s", quote(h))
		}
		if b, err = k.frame(int(n - 4)); err != nil {
			return 0, nil, err
		}
		switch h[0] {
		case 'E':
			return 0, nil, pgError(b)
		case 'N', 'A':
			continue
		}
		return h[0], b, nil
	}
}

// pgError reads ErrorResponse: fields of a letter and a text each. SQLSTATE class 28 is a
// refused login (appendix A).
func pgError(b []byte) error {
	var code, text string
	for part := range bytes.SplitSeq(b, []byte{0}) {
		switch {
		case len(part) > 1 && part[0] == 'C':
			code = string(part[1:])
		case len(part) > 1 && part[0] == 'M':
			text = string(part[1:])
		}
	}
	why := health.WhyStatus
	if strings.HasPrefix(code, "28") {
		why = health.WhyLogin
	}
	return fail(why, "PostgreSQL error %s: %s", quote(code), quote(text))
}
