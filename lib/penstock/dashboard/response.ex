defmodule Penstock.Dashboard.Response do
  # Responses of the dashboard, and their text on the wire.
  @moduledoc false

  alias Penstock.View.JSON

  @typedoc "Further headers are those of this response alone."
  @type t :: %{status: 200..599, type: String.t(), headers: [{String.t(), String.t()}], body: iodata}

  @json "application/json; charset=utf-8"
  @html "text/html; charset=utf-8"

  # The page loads nothing from elsewhere, and no other page can hold it in a frame.
  @policy "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " <>
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

  @common "cache-control: no-store\r\ncontent-security-policy: #{@policy}\r\nx-content-type-options: nosniff\r\n" <>
            "referrer-policy: no-referrer\r\ncross-origin-resource-policy: same-origin\r\n"

  @reasons %{
    200 => "OK",
    303 => "See Other",
    400 => "Bad Request",
    401 => "Unauthorized",
    403 => "Forbidden",
    404 => "Not Found",
    405 => "Method Not Allowed",
    408 => "Request Timeout",
    409 => "Conflict",
    431 => "Request Header Fields Too Large",
    500 => "Internal Server Error",
    503 => "Service Unavailable",
    505 => "HTTP Version Not Supported"
  }

  @spec new(200..599, String.t(), iodata, [{String.t(), String.t()}]) :: t
  def new(status, type, body, headers \\ []), do: %{status: status, type: type, headers: headers, body: body}

  @spec json(200..599, JSON.term_of_json()) :: t
  def json(status \\ 200, term), do: new(status, @json, JSON.encode(term))

  @spec html(200..599, iodata, [{String.t(), String.t()}]) :: t
  def html(status, body, headers), do: new(status, @html, body, headers)

  @spec error(400..599, String.t(), [{String.t(), String.t()}]) :: t
  def error(status, text, headers \\ []), do: %{json(status, %{"error" => text}) | headers: headers}

  # The dashboard serves as many others as it can.
  @spec busy() :: t
  def busy, do: error(503, "the dashboard is busy", [{"retry-after", "1"}])

  # Returns the text of a response. A response to HEAD has no body, but tells its size.
  @spec encode(t, boolean, boolean) :: iodata
  def encode(response, keep?, head?) do
    [
      "HTTP/1.1 #{response.status} #{Map.fetch!(@reasons, response.status)}\r\n",
      "content-type: #{response.type}\r\ncontent-length: #{IO.iodata_length(response.body)}\r\n",
      @common,
      for({name, value} <- response.headers, do: [name, ": ", value, "\r\n"]),
      if(keep?, do: "\r\n", else: "connection: close\r\n\r\n"),
      if(head?, do: "", else: response.body)
    ]
  end
end
