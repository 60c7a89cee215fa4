module example.com/recovery

go 1.26.0

require golang.org/x/net v0.62.0

require golang.org/x/sys v0.49.0 // indirect

require (
	github.com/google/uuid v1.6.0
	github.com/matryer/is v1.4.1
	github.com/wneessen/go-mail v0.8.1
	golang.org/x/crypto v0.58.0
	golang.org/x/text v0.43.0
)
