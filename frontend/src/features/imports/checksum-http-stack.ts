import { DefaultHttpStack, type HttpRequest, type HttpResponse } from 'tus-js-client';

const NEVER = new Promise<HttpResponse>(() => undefined);

/** Sends with each piece its SHA-256, so that the server refuses a piece that the way has damaged. */
export class ChecksumHttpStack extends DefaultHttpStack {
  constructor() {
    super({});
  }

  override createRequest(method: string, url: string): HttpRequest {
    const request = super.createRequest(method, url);
    // Browsers offer digests on https and localhost only.
    if (method !== 'PATCH' || !('subtle' in crypto)) return request;
    const send = request.send.bind(request);
    const abort = request.abort.bind(request);
    let aborted = false;
    request.abort = () => {
      aborted = true;
      return abort();
    };
    request.send = async (body: unknown) => {
      if (body instanceof Blob) {
        const digest = await crypto.subtle.digest('SHA-256', await body.arrayBuffer());
        // Paused or cancelled meanwhile: as with any aborted request, no answer ever comes.
        if (aborted) return NEVER;
        request.setHeader('Upload-Checksum', `sha256 ${base64(new Uint8Array(digest))}`);
      }
      return send(body);
    };
    return request;
  }
}

function base64(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes));
}
