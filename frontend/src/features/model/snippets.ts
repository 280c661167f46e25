export interface Snippet {
  language: 'curl' | 'python' | 'javascript';
  title: string;
  code: string;
}

const KEY_VARIABLE = 'LOGGIA_API_KEY';

/** Complete programs that call the model; the key comes from the environment so that none ends up in a file. */
export function snippets(baseUrl: string, model: string): Snippet[] {
  return [
    {
      language: 'curl',
      title: 'curl',
      code: `curl ${baseUrl}/chat/completions \\
  -H "Authorization: Bearer $${KEY_VARIABLE}" \\
  -H "Content-Type: application/json" \\
  -d '{
    "model": "${model}",
    "messages": [{"role": "user", "content": "Hello!"}]
  }'`,
    },
    {
      language: 'python',
      title: 'Python',
      code: `# pip install openai
import os

from openai import OpenAI

client = OpenAI(base_url="${baseUrl}", api_key=os.environ["${KEY_VARIABLE}"])

answer = client.chat.completions.create(
    model="${model}",
    messages=[{"role": "user", "content": "Hello!"}],
)
print(answer.choices[0].message.content)`,
    },
    {
      language: 'javascript',
      title: 'JavaScript',
      code: `// npm install openai
import OpenAI from 'openai';

const client = new OpenAI({
  baseURL: '${baseUrl}',
  apiKey: process.env.${KEY_VARIABLE},
});

const answer = await client.chat.completions.create({
  model: '${model}',
  messages: [{ role: 'user', content: 'Hello!' }],
});
console.log(answer.choices[0].message.content);`,
    },
  ];
}
