package sqlstore

import (
	"encoding/hex"
	"math/bits"
	"strconv"
	"strings"
)

// rowArgs are the arguments of a statement about many rows. PostgreSQL gets each column as one
// array, so that the same statement serves any number of rows. Other databases get every value.
type rowArgs struct {
	columns int
	values  []any // row by row: string, []byte, int64 or nil, which is NULL
}

func (r *rowArgs) add(values ...any) {
	r.columns = len(values)
	r.values = append(r.values, values...)
}

func (r *rowArgs) len() int {
	if r.columns == 0 {
		return 0
	}
	return len(r.values) / r.columns
}

// expand repeats the part in braces for every row.
func (r *rowArgs) expand(text string) string {
	before, rest, ok := strings.Cut(text, "{")
	if !ok {
		return text
	}
	row, after, _ := strings.Cut(rest, "}")
	return before + strings.Repeat(row+", ", r.len()-1) + row + after
}

// pieces splits the rows for statements: all at once, or for SQLite in powers of two, so that few
// statements are kept prepared.
func (r rowArgs) pieces(d Dialect) (pieces []rowArgs) {
	if d != SQLite && r.len() > 0 {
		return []rowArgs{r}
	}
	for n := r.len(); n > 0; n = r.len() {
		size := r.columns << (bits.Len(uint(n)) - 1)
		pieces = append(pieces, rowArgs{r.columns, r.values[:size]})
		r.values = r.values[size:]
	}
	return pieces
}

// args returns the arguments of a statement. PostgreSQL's are array literals: every driver takes a
// text, and the statement casts it.
func (r *rowArgs) args(d Dialect) []any {
	if d != PostgreSQL {
		return r.values
	}
	args := make([]any, r.columns)
	var b []byte
	for c := range args {
		b = append(b[:0], '{')
		for i := c; i < len(r.values); i += r.columns {
			if i > c {
				b = append(b, ',')
			}
			switch v := r.values[i].(type) {
			case nil:
				b = append(b, "NULL"...)
			case int64:
				b = strconv.AppendInt(b, v, 10)
			case []byte:
				b = append(b, `"\\x`...)
				b = hex.AppendEncode(b, v)
				b = append(b, '"')
			case string:
				b = append(b, '"')
				for i := range len(v) {
					if v[i] == '"' || v[i] == '\\' {
						b = append(b, '\\')
					}
					b = append(b, v[i])
				}
				b = append(b, '"')
			}
		}
		args[c] = string(append(b, '}'))
	}
	return args
}
