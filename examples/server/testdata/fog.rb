# Makes each call that standard input has on a line of JSON, with the Identity service of
# fog-rackspace, and writes a line of what the client made of the answer.
require "fog/rackspace"
require "json"

class Identity < Fog::Rackspace::Identity::Real
  attr_accessor :auth_token, :logins

  # The client calls this first, and again after each 401. This server has nothing to log in to.
  def authenticate(*)
    @logins = logins.to_i + 1
  end
end

identity = Identity.new(rackspace_auth_url: ARGV[0] + "/v2.0")
$stdout.sync = true
$stdin.each_line do |line|
  call = JSON.parse(line)
  identity.auth_token = call["token"]
  identity.logins = 0
  made =
    begin
      answer = identity.request(method: "POST", path: "users/RAX-AUTH/" + call["path"],
                                body: Fog::JSON.encode(call["body"]), expects: 204)
      { ok: true, status: answer.status, user: answer.headers["X-User-Name"] }
    rescue Excon::Error::HTTPStatus => e
      fault = Fog::Rackspace::Errors::ServiceError.slurp(e)
      { error: e.class.name, status: fault.status_code, code: fault.response_data.keys.first,
        message: fault.class.extract_message(fault.response_data),
        retryAfter: e.response.headers["Retry-After"].to_i }
    end
  puts JSON.generate(made.merge(logins: identity.logins))
end
