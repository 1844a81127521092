package health

// quorum says whether enough of a service is left, as keepalived does: lost when the
// servers that are up weigh nothing or less than need − hysteresis together, won when
// they weigh at least need + hysteresis, and in between as it was.
type quorum struct{ up bool }

// step takes the weight of the servers that are up and says whether the quorum changed.
// need is at least 1 and hysteresis less than need: others are taken for the nearest.
func (q *quorum) step(weight, need, hysteresis int) (changed bool) {
	need = max(1, need)
	hysteresis = min(max(0, hysteresis), need-1)
	was := q.up
	switch {
	case weight >= need+hysteresis:
		q.up = true
	case weight < need-hysteresis: // as 0 always is
		q.up = false
	}
	return q.up != was
}
